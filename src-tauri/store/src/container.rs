//! Containers and their moves.

use crate::{
    Store, StoreError,
    device::{amount, id},
    transition::record,
};
use fogbank_model::{Container, ContainerId, ContainerSpec, ContainerState, DeviceId, MixId, OwnerId, Transition, UnixMs};

/// A container with what only the allocator needs.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptContainer {
    /// As shown.
    pub container: Container,
    /// The device that publishes it.
    pub publisher: DeviceId,
    /// The service proof, as the publisher handed it over.
    pub proof: Vec<u8>,
    /// Its introduction points.
    pub points: Vec<MixId>,
    /// Why its instances are where they are.
    pub placement: Option<String>,
    /// Forgotten once it has stopped.
    pub deleting: bool,
}

impl Store {
    /// Keeps a new container in state pending. The same id from the same owner again changes nothing.
    ///
    /// # Errors
    /// When the id or the address is another owner's, or the database fails.
    pub async fn create(&self, kept: &KeptContainer) -> Result<(), StoreError> {
        let c = &kept.container;
        let (cid, owner, publisher) = (c.id.0.as_slice(), c.owner.0.as_slice(), kept.publisher.0.as_slice());
        let (onion, proof, created, revision) = (c.onion.as_str(), kept.proof.as_slice(), c.created.0, amount(c.revision));
        let spec = serde_json::to_string(&c.spec).map_err(|_| StoreError::Unreadable { what: "a specification" })?;
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(StoreError::database)?;
        let known = sqlx::query_scalar!("SELECT owner FROM containers WHERE id = ?", cid)
            .fetch_optional(&mut *tx)
            .await
            .map_err(StoreError::database)?;
        if let Some(known) = known {
            return if known == owner { Ok(()) } else { Err(StoreError::Taken { what: "container id" }) };
        }
        let inserted = sqlx::query!(
            "INSERT OR IGNORE INTO containers (id, owner, publisher, onion, spec, proof, state, reason, created, revision)
             VALUES (?, ?, ?, ?, ?, ?, 'pending', 'created', ?, ?)",
            cid,
            owner,
            publisher,
            onion,
            spec,
            proof,
            created,
            revision
        )
        .execute(&mut *tx)
        .await
        .map_err(StoreError::database)?;
        if inserted.rows_affected() == 0 {
            return Err(StoreError::Taken { what: "address" });
        }
        record(&mut tx, c.id, None, ContainerState::Pending.name(), "created", c.created).await?;
        tx.commit().await.map_err(StoreError::database)?;
        self.kill.committed(1);
        Ok(())
    }

    /// All containers, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn containers(&self) -> Result<Vec<KeptContainer>, StoreError> {
        let rows = sqlx::query!(
            "SELECT id, owner, publisher, onion, spec, proof, state, reason, created, epoch, points, placement, deleting,
             revision FROM containers ORDER BY created, id"
        )
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::database)?;
        rows.into_iter()
            .map(|r| {
                let spec: ContainerSpec =
                    serde_json::from_str(&r.spec).map_err(|_| StoreError::Unreadable { what: "a specification" })?;
                let state = ContainerState::from_name(&r.state).ok_or(StoreError::Unreadable { what: "a state" })?;
                let points = r.points.as_chunks::<16>().0.iter().map(|p| MixId(*p)).collect();
                Ok(KeptContainer {
                    container: Container {
                        id: ContainerId(id(r.id, "a container id")?),
                        owner: OwnerId(id(r.owner, "an owner id")?),
                        onion: r.onion.parse().map_err(|_| StoreError::Unreadable { what: "an address" })?,
                        spec,
                        state,
                        reason: r.reason,
                        created: UnixMs(r.created),
                        epoch: u64::try_from(r.epoch).unwrap_or(0),
                        revision: u64::try_from(r.revision).unwrap_or(0),
                    },
                    publisher: DeviceId(id(r.publisher, "a device id")?),
                    proof: r.proof,
                    points,
                    placement: r.placement,
                    deleting: r.deleting != 0,
                })
            })
            .collect()
    }

    /// Moves a container from the state it is in.
    ///
    /// # Errors
    /// When the machine has no such move, or the database fails.
    pub async fn move_container(
        &self,
        cid: ContainerId,
        to: ContainerState,
        reason: &str,
        now: UnixMs,
    ) -> Result<(), StoreError> {
        let bytes = cid.0.as_slice();
        let name = to.name();
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(StoreError::database)?;
        let state = sqlx::query_scalar!("SELECT state FROM containers WHERE id = ?", bytes)
            .fetch_optional(&mut *tx)
            .await
            .map_err(StoreError::database)?
            .ok_or(StoreError::NotFound { what: "container" })?;
        let state = ContainerState::from_name(&state).ok_or(StoreError::Unreadable { what: "a state" })?;
        state.go(to).map_err(StoreError::Move)?;
        sqlx::query!("UPDATE containers SET state = ?, reason = ? WHERE id = ?", name, reason, bytes)
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database)?;
        record(&mut tx, cid, None, name, reason, now).await?;
        tx.commit().await.map_err(StoreError::database)?;
        self.kill.committed(1);
        Ok(())
    }

    /// Says anew why a container is where it is; no move.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn set_reason(&self, cid: ContainerId, reason: &str) -> Result<(), StoreError> {
        let cid = cid.0.as_slice();
        sqlx::query!("UPDATE containers SET reason = ? WHERE id = ?", reason, cid)
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(StoreError::database)
    }

    /// Keeps a container's introduction points.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn set_points(&self, cid: ContainerId, points: &[MixId]) -> Result<(), StoreError> {
        let cid = cid.0.as_slice();
        let points: Vec<u8> = points.iter().flat_map(|p| p.0).collect();
        sqlx::query!("UPDATE containers SET points = ? WHERE id = ?", points, cid)
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(StoreError::database)
    }

    /// Keeps a container's service proof anew, when it is still the one that was read as `before`: two renewals don't undo each other.
    ///
    /// # Errors
    /// When it is not, or the database fails.
    pub async fn set_proof(&self, cid: ContainerId, before: &[u8], proof: &[u8]) -> Result<(), StoreError> {
        let id = cid.0.as_slice();
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(StoreError::database)?;
        let known = sqlx::query_scalar!("SELECT proof FROM containers WHERE id = ?", id)
            .fetch_optional(&mut *tx)
            .await
            .map_err(StoreError::database)?;
        if known.as_deref() != Some(before) {
            return Err(StoreError::NotFound { what: "container with that proof" });
        }
        sqlx::query!("UPDATE containers SET proof = ? WHERE id = ?", proof, id)
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database)?;
        tx.commit().await.map_err(StoreError::database)
    }

    /// Marks a container to be forgotten once it has stopped.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn mark_deleting(&self, cid: ContainerId) -> Result<(), StoreError> {
        let cid = cid.0.as_slice();
        sqlx::query!("UPDATE containers SET deleting = 1 WHERE id = ?", cid)
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(StoreError::database)
    }

    /// Forgets a stopped or failed container with its history.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget(&self, cid: ContainerId) -> Result<(), StoreError> {
        let cid = cid.0.as_slice();
        sqlx::query!("DELETE FROM containers WHERE id = ? AND state IN ('stopped', 'failed')", cid)
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(StoreError::database)
    }

    /// A container's moves, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn history(&self, cid: ContainerId) -> Result<Vec<Transition>, StoreError> {
        let cid = cid.0.as_slice();
        let rows = sqlx::query!(
            "SELECT state, reason, at FROM transitions WHERE container = ? AND instance IS NULL ORDER BY number",
            cid
        )
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::database)?;
        rows.into_iter()
            .map(|r| {
                let to = ContainerState::from_name(&r.state).ok_or(StoreError::Unreadable { what: "a state" })?;
                Ok(Transition { at: UnixMs(r.at), to, reason: r.reason })
            })
            .collect()
    }
}
