//! Members and invites.

use crate::{Store, StoreError};
use fogbank_model::{DeviceId, OwnerId, Resources, UnixMs};

/// What a device may do, as the allocator names it; kept as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RoleBits(pub i64);

/// Invites kept at most: more than any community hands out within their lives.
pub const MAX_INVITES: usize = 10_000;

/// Removed keys that are remembered at most; beyond that the oldest are forgotten.
pub const MAX_BANNED: usize = 10_000;

/// A member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptDevice {
    /// Which.
    pub id: DeviceId,
    /// Whose.
    pub owner: OwnerId,
    /// What it is called.
    pub name: String,
    /// What it may do.
    pub granted: RoleBits,
    /// What it lends, as it last said.
    pub lent: Resources,
    /// What its live instances hold of that.
    pub held: Resources,
}

struct Row {
    id: Vec<u8>,
    owner: Vec<u8>,
    name: String,
    granted: i64,
    lent_cpu: i64,
    lent_memory: i64,
    lent_storage: i64,
    lent_bandwidth: i64,
    held_cpu: i64,
    held_memory: i64,
    held_storage: i64,
    held_bandwidth: i64,
}

impl TryFrom<Row> for KeptDevice {
    type Error = StoreError;

    fn try_from(r: Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: DeviceId(id(r.id, "a device id")?),
            owner: OwnerId(id(r.owner, "an owner id")?),
            name: r.name,
            granted: RoleBits(r.granted),
            lent: resources(r.lent_cpu, r.lent_memory, r.lent_storage, r.lent_bandwidth),
            held: resources(r.held_cpu, r.held_memory, r.held_storage, r.held_bandwidth),
        })
    }
}

pub(crate) fn id<const N: usize>(bytes: Vec<u8>, what: &'static str) -> Result<[u8; N], StoreError> {
    bytes.try_into().map_err(|_| StoreError::Unreadable { what })
}

/// Amounts are below 2⁵³ (`Resources::LIMIT`), so they fit SQLite's integers.
pub(crate) fn amount(units: u64) -> i64 {
    i64::try_from(units).unwrap_or(i64::MAX)
}

pub(crate) fn resources(cpu: i64, memory: i64, storage: i64, bandwidth: i64) -> Resources {
    let units = |n: i64| u64::try_from(n).unwrap_or(0);
    Resources {
        cpu_millicores: units(cpu),
        memory_mb: units(memory),
        storage_mb: units(storage),
        bandwidth_kbps: units(bandwidth),
    }
}

impl Store {
    /// Keeps an invite: only the hash of its secret. Beyond [`MAX_INVITES`] those that end first are forgotten.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn add_invite(&self, secret_hash: &[u8; 32], roles: RoleBits, expires: UnixMs) -> Result<(), StoreError> {
        let (hash, roles, expires, others) = (secret_hash.as_slice(), roles.0, expires.0, amount(MAX_INVITES as u64 - 1));
        sqlx::query!("INSERT OR REPLACE INTO invites (secret_hash, roles, expires) VALUES (?, ?, ?)", hash, roles, expires)
            .execute(&self.pool)
            .await
            .map_err(StoreError::database)?;
        sqlx::query!(
            "DELETE FROM invites WHERE secret_hash IN
             (SELECT secret_hash FROM invites WHERE secret_hash <> ? ORDER BY expires DESC LIMIT -1 OFFSET ?)",
            hash,
            others
        )
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(StoreError::database)
    }

    /// What an invite grants and until when.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn invite(&self, secret_hash: &[u8; 32]) -> Result<Option<(RoleBits, UnixMs)>, StoreError> {
        let hash = secret_hash.as_slice();
        let row = sqlx::query!("SELECT roles, expires FROM invites WHERE secret_hash = ?", hash)
            .fetch_optional(&self.pool)
            .await
            .map_err(StoreError::database)?;
        Ok(row.map(|r| (RoleBits(r.roles), UnixMs(r.expires))))
    }

    /// Forgets invites that ended before this time.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn sweep_invites(&self, before: UnixMs) -> Result<(), StoreError> {
        let before = before.0;
        sqlx::query!("DELETE FROM invites WHERE expires < ?", before)
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(StoreError::database)
    }

    /// Keeps a member, or its new name and what it may do from now on.
    ///
    /// # Errors
    /// [`StoreError::Banned`] when it or its owner was removed; when the database fails.
    pub async fn put_device(
        &self,
        device: DeviceId,
        owner: OwnerId,
        name: &str,
        granted: RoleBits,
        now: UnixMs,
    ) -> Result<(), StoreError> {
        let (id, owner, granted, now) = (device.0.as_slice(), owner.0.as_slice(), granted.0, now.0);
        // In one statement, so that whoever is being removed just now does not slip in.
        let kept = sqlx::query!(
            "INSERT INTO devices (id, owner, name, granted, joined)
             SELECT ?1, ?2, ?3, ?4, ?5 WHERE NOT EXISTS (SELECT 1 FROM banned WHERE key IN (?1, ?2))
             ON CONFLICT (id) DO UPDATE SET owner = excluded.owner, name = excluded.name, granted = excluded.granted",
            id,
            owner,
            name,
            granted,
            now
        )
        .execute(&self.pool)
        .await
        .map_err(StoreError::database)?;
        if kept.rows_affected() == 0 { Err(StoreError::Banned) } else { Ok(()) }
    }

    /// A device is not to be let in again, nor is any other of its owner where that is named. Beyond [`MAX_BANNED`] keys the oldest are forgotten.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn ban(&self, device: DeviceId, owner: Option<OwnerId>, now: UnixMs) -> Result<(), StoreError> {
        let (id, at, most) = (device.0.as_slice(), now.0, amount(MAX_BANNED as u64));
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(StoreError::database)?;
        for key in std::iter::once(device.0).chain(owner.map(|owner| owner.0)) {
            let key = key.as_slice();
            sqlx::query!("INSERT OR REPLACE INTO banned (key, device, at) VALUES (?, ?, ?)", key, id, at)
                .execute(&mut *tx)
                .await
                .map_err(StoreError::database)?;
        }
        sqlx::query!(
            "DELETE FROM banned WHERE key IN (SELECT key FROM banned ORDER BY at DESC, rowid DESC LIMIT -1 OFFSET ?)",
            most
        )
        .execute(&mut *tx)
        .await
        .map_err(StoreError::database)?;
        tx.commit().await.map_err(StoreError::database)
    }

    /// Whoever was banned with this device may be let in again. Whether anybody was.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn lift_ban(&self, device: DeviceId) -> Result<bool, StoreError> {
        let id = device.0.as_slice();
        let lifted = sqlx::query!("DELETE FROM banned WHERE device = ?", id).execute(&self.pool).await;
        Ok(lifted.map_err(StoreError::database)?.rows_affected() > 0)
    }

    /// Makes all invites void. How many there were.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn void_invites(&self) -> Result<u64, StoreError> {
        let voided = sqlx::query!("DELETE FROM invites").execute(&self.pool).await.map_err(StoreError::database)?;
        Ok(voided.rows_affected())
    }

    /// A member leaves: it may do nothing from now on. It is forgotten once no history of an instance names it, with others of which that is so by now.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn end_device(&self, device: DeviceId) -> Result<(), StoreError> {
        let id = device.0.as_slice();
        sqlx::query!(
            "UPDATE devices SET granted = 0, lent_cpu = 0, lent_memory = 0, lent_storage = 0, lent_bandwidth = 0 WHERE id = ?",
            id
        )
        .execute(&self.pool)
        .await
        .map_err(StoreError::database)?;
        sqlx::query!(
            "DELETE FROM devices WHERE granted = 0 AND NOT EXISTS (SELECT 1 FROM instances WHERE instances.device = devices.id)"
        )
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(StoreError::database)
    }

    /// A member, or one that left and is not forgotten yet: that may do nothing.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn device(&self, device: DeviceId) -> Result<Option<KeptDevice>, StoreError> {
        let id = device.0.as_slice();
        sqlx::query_as!(
            Row,
            "SELECT id, owner, name, granted, lent_cpu, lent_memory, lent_storage, lent_bandwidth,
                    held_cpu, held_memory, held_storage, held_bandwidth FROM devices WHERE id = ?",
            id
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(StoreError::database)?
        .map(KeptDevice::try_from)
        .transpose()
    }

    /// All members, and those that left and are not forgotten yet.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn devices(&self) -> Result<Vec<KeptDevice>, StoreError> {
        let rows = sqlx::query_as!(
            Row,
            "SELECT id, owner, name, granted, lent_cpu, lent_memory, lent_storage, lent_bandwidth,
                    held_cpu, held_memory, held_storage, held_bandwidth FROM devices"
        )
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::database)?;
        rows.into_iter().map(KeptDevice::try_from).collect()
    }

    /// Keeps what a device lends now.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn set_lent(&self, device: DeviceId, lent: &Resources) -> Result<(), StoreError> {
        let id = device.0.as_slice();
        let [cpu, memory, storage, bandwidth] = fogbank_model::Dimension::ALL.map(|d| amount(lent.get(d)));
        sqlx::query!(
            "UPDATE devices SET lent_cpu = ?, lent_memory = ?, lent_storage = ?, lent_bandwidth = ? WHERE id = ?",
            cpu,
            memory,
            storage,
            bandwidth,
            id
        )
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(StoreError::database)
    }

    /// What is kept of how devices have behaved.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn conducts(&self) -> Result<Vec<(DeviceId, Vec<u8>)>, StoreError> {
        let rows = sqlx::query!(r#"SELECT id, conduct AS "conduct!" FROM devices WHERE conduct IS NOT NULL"#)
            .fetch_all(&self.pool)
            .await
            .map_err(StoreError::database)?;
        rows.into_iter().map(|row| Ok((DeviceId(id(row.id, "a device id")?), row.conduct))).collect()
    }

    /// Keeps how these devices have behaved, all or none. Of one that is no member nothing is kept.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keep_conducts(&self, conducts: &[(DeviceId, Vec<u8>)]) -> Result<(), StoreError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(StoreError::database)?;
        for (device, conduct) in conducts {
            let (id, conduct) = (device.0.as_slice(), conduct.as_slice());
            sqlx::query!("UPDATE devices SET conduct = ? WHERE id = ?", conduct, id)
                .execute(&mut *tx)
                .await
                .map_err(StoreError::database)?;
        }
        tx.commit().await.map_err(StoreError::database)?;
        self.kill.committed(1);
        Ok(())
    }
}
