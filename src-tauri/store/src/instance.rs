//! Instances, their moves, and the accounting that no device is oversubscribed.

use crate::{
    Store, StoreError,
    device::{amount, id, resources},
    transition::record,
};
use fogbank_model::{ContainerId, DeviceId, Dimension, Instance, InstanceId, InstanceState, Resources, UnixMs};
use sqlx::SqliteConnection;

/// An instance with what only the allocator needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptInstance {
    /// As shown.
    pub instance: Instance,
    /// A reservation that is not confirmed by then has ended.
    pub expires: UnixMs,
    /// Its introduction key, once it has told it.
    pub introduction_key: Option<[u8; 32]>,
}

/// Instances of a container that are over and still kept: what a detail page shows.
pub const MAX_PAST_INSTANCES: usize = 32;

/// What a plan wants to hold on one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// Id of the instance to be.
    pub instance: InstanceId,
    /// Where.
    pub device: DeviceId,
    /// How much.
    pub given: Resources,
    /// Of the content that it is to serve.
    pub revision: u64,
}

/// What became of a plan's reservations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reserved {
    /// All are held.
    All,
    /// This device has not enough free any more; none is held.
    Short(DeviceId),
    /// A newer plan was made meanwhile; none is held.
    Outdated,
}

struct Row {
    id: Vec<u8>,
    container: Vec<u8>,
    device: Vec<u8>,
    cpu: i64,
    memory: i64,
    storage: i64,
    bandwidth: i64,
    state: String,
    reason: String,
    since: i64,
    epoch: i64,
    expires: i64,
    introduction_key: Option<Vec<u8>>,
    revision: i64,
}

impl TryFrom<Row> for KeptInstance {
    type Error = StoreError;

    fn try_from(r: Row) -> Result<Self, StoreError> {
        Ok(Self {
            instance: Instance {
                id: InstanceId(id(r.id, "an instance id")?),
                container: ContainerId(id(r.container, "a container id")?),
                device: DeviceId(id(r.device, "a device id")?),
                given: resources(r.cpu, r.memory, r.storage, r.bandwidth),
                state: InstanceState::from_name(&r.state).ok_or(StoreError::Unreadable { what: "a state" })?,
                reason: r.reason,
                since: UnixMs(r.since),
                epoch: u64::try_from(r.epoch).unwrap_or(0),
                revision: u64::try_from(r.revision).unwrap_or(0),
            },
            expires: UnixMs(r.expires),
            introduction_key: r.introduction_key.map(|k| id(k, "an introduction key")).transpose()?,
        })
    }
}

impl Store {
    /// Holds all resources of a plan or none, in one transaction, devices in the order of their ids. `epoch` is the container's epoch that
    /// the plan was made under; it rises by one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn reserve(
        &self,
        cid: ContainerId,
        epoch: u64,
        reservations: &[Reservation],
        placement: &str,
        expires: UnixMs,
        now: UnixMs,
    ) -> Result<Reserved, StoreError> {
        let mut sorted: Vec<&Reservation> = reservations.iter().collect();
        sorted.sort_by_key(|r| r.device);
        let container = cid.0.as_slice();
        let (old, new) = (amount(epoch), amount(epoch + 1));
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(StoreError::database)?;
        let fenced = sqlx::query!(
            "UPDATE containers SET epoch = ?, placement = ? WHERE id = ? AND epoch = ?",
            new,
            placement,
            container,
            old
        )
        .execute(&mut *tx)
        .await
        .map_err(StoreError::database)?;
        if fenced.rows_affected() == 0 {
            return Ok(Reserved::Outdated);
        }
        for reservation in &sorted {
            if !hold(&mut tx, reservation).await? {
                return Ok(Reserved::Short(reservation.device));
            }
            let (iid, device) = (reservation.instance.0.as_slice(), reservation.device.0.as_slice());
            let [cpu, memory, storage, bandwidth] = Dimension::ALL.map(|d| amount(reservation.given.get(d)));
            let (now, expires, revision) = (now.0, expires.0, amount(reservation.revision));
            sqlx::query!(
                "INSERT INTO instances
                 (id, container, device, cpu, memory, storage, bandwidth, state, reason, since, epoch, expires, revision)
                 VALUES (?, ?, ?, ?, ?, ?, ?, 'reserved', 'planned', ?, ?, ?, ?)",
                iid,
                container,
                device,
                cpu,
                memory,
                storage,
                bandwidth,
                now,
                new,
                expires,
                revision
            )
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database)?;
            record(&mut tx, cid, Some(reservation.instance), InstanceState::Reserved.name(), "planned", UnixMs(now)).await?;
        }
        tx.commit().await.map_err(StoreError::database)?;
        self.kill.committed(sorted.len() as u64);
        Ok(Reserved::All)
    }

    /// All instances of containers that are kept: the live ones, and those that ended or were lost since `after`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn instances(&self, after: UnixMs) -> Result<Vec<KeptInstance>, StoreError> {
        let after = after.0;
        let rows = sqlx::query_as!(
            Row,
            "SELECT id, container, device, cpu, memory, storage, bandwidth, state, reason, since, epoch, expires, introduction_key,
             revision FROM instances WHERE state NOT IN ('ended', 'lost') OR since >= ? ORDER BY since",
            after
        )
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::database)?;
        rows.into_iter().map(KeptInstance::try_from).collect()
    }

    /// The live instances of one device.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn instances_on(&self, device: DeviceId) -> Result<Vec<KeptInstance>, StoreError> {
        let device = device.0.as_slice();
        let rows = sqlx::query_as!(
            Row,
            "SELECT id, container, device, cpu, memory, storage, bandwidth, state, reason, since, epoch, expires, introduction_key,
             revision FROM instances WHERE device = ? AND state NOT IN ('ended', 'lost') ORDER BY since",
            device
        )
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::database)?;
        rows.into_iter().map(KeptInstance::try_from).collect()
    }

    /// Moves an instance from the state it is in; one that ends frees what it held. A move to the state it is in is none.
    ///
    /// # Errors
    /// When the machine has no such move, or the database fails.
    pub async fn move_instance(&self, iid: InstanceId, to: InstanceState, reason: &str, now: UnixMs) -> Result<(), StoreError> {
        let bytes = iid.0.as_slice();
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(StoreError::database)?;
        let row =
            sqlx::query!("SELECT state, container, device, cpu, memory, storage, bandwidth FROM instances WHERE id = ?", bytes)
                .fetch_optional(&mut *tx)
                .await
                .map_err(StoreError::database)?
                .ok_or(StoreError::NotFound { what: "instance" })?;
        let from = InstanceState::from_name(&row.state).ok_or(StoreError::Unreadable { what: "a state" })?;
        if from == to {
            return Ok(());
        }
        from.go(to).map_err(StoreError::Move)?;
        let (name, at) = (to.name(), now.0);
        sqlx::query!("UPDATE instances SET state = ?, reason = ?, since = ? WHERE id = ?", name, reason, at, bytes)
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database)?;
        if !to.is_live() {
            let (device, cpu, memory, storage, bandwidth) = (row.device, row.cpu, row.memory, row.storage, row.bandwidth);
            sqlx::query!(
                "UPDATE devices SET held_cpu = held_cpu - ?, held_memory = held_memory - ?, held_storage = held_storage - ?,
                 held_bandwidth = held_bandwidth - ? WHERE id = ?",
                cpu,
                memory,
                storage,
                bandwidth,
                device
            )
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database)?;
            forget_past(&mut tx, &row.container).await?;
        }
        record(&mut tx, ContainerId(id(row.container, "a container id")?), Some(iid), name, reason, now).await?;
        tx.commit().await.map_err(StoreError::database)?;
        self.kill.committed(1);
        Ok(())
    }

    /// Keeps an instance's introduction key.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn set_introduction_key(&self, iid: InstanceId, key: &[u8; 32]) -> Result<(), StoreError> {
        let (iid, key) = (iid.0.as_slice(), key.as_slice());
        sqlx::query!("UPDATE instances SET introduction_key = ? WHERE id = ?", key, iid)
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(StoreError::database)
    }
}

/// Takes resources of a device, if it has them free.
async fn hold(connection: &mut SqliteConnection, reservation: &Reservation) -> Result<bool, StoreError> {
    let device = reservation.device.0.as_slice();
    let [cpu, memory, storage, bandwidth] = Dimension::ALL.map(|d| amount(reservation.given.get(d)));
    let held = sqlx::query!(
        "UPDATE devices SET held_cpu = held_cpu + ?1, held_memory = held_memory + ?2, held_storage = held_storage + ?3,
         held_bandwidth = held_bandwidth + ?4
         WHERE id = ?5 AND lent_cpu - held_cpu >= ?1 AND lent_memory - held_memory >= ?2 AND lent_storage - held_storage >= ?3
         AND lent_bandwidth - held_bandwidth >= ?4",
        cpu,
        memory,
        storage,
        bandwidth,
        device
    )
    .execute(connection)
    .await
    .map_err(StoreError::database)?;
    Ok(held.rows_affected() == 1)
}

/// Forgets a container's instances that are over, but for the last [`MAX_PAST_INSTANCES`].
async fn forget_past(connection: &mut SqliteConnection, container: &[u8]) -> Result<(), StoreError> {
    let kept = amount(MAX_PAST_INSTANCES as u64);
    sqlx::query!(
        "DELETE FROM instances WHERE rowid IN (SELECT rowid FROM instances WHERE container = ? AND state IN ('ended', 'lost')
         ORDER BY since DESC, rowid DESC LIMIT -1 OFFSET ?)",
        container,
        kept
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(StoreError::database)
}
