//! Contents of containers by revision: one that is asked for, the moment when visitors are told of it, and what is forgotten.
//!
//! Invariants: numbers of a container rise; at most one content is coming; that visitors are told of another content is one transaction, in which
//! specification, proof and states change together, and only if the proof is still the one that was read: neither a renewal of periods nor an
//! update undoes the other.

use crate::{
    Store, StoreError,
    device::{amount, id},
    transition::record,
};
use fogbank_model::{ContainerId, ContainerSpec, Image, Revision, RevisionState, UnixMs};
use sqlx::SqliteConnection;

/// A content with what only the allocator needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptRevision {
    /// Of which container.
    pub container: ContainerId,
    /// As shown.
    pub revision: Revision,
    /// Its seal, as its publisher signed it.
    pub seal: Vec<u8>,
}

const REPLACED: &str = "another update was asked for first";

impl Store {
    /// All contents of containers that were ever updated, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn revisions(&self) -> Result<Vec<KeptRevision>, StoreError> {
        let rows =
            sqlx::query!("SELECT container, number, image, seal, state, reason, began FROM revisions ORDER BY container, number")
                .fetch_all(&self.pool)
                .await
                .map_err(StoreError::database)?;
        rows.into_iter()
            .map(|r| {
                Ok(KeptRevision {
                    container: ContainerId(id(r.container, "a container id")?),
                    revision: Revision {
                        number: u64::try_from(r.number).unwrap_or(0),
                        image: serde_json::from_str(&r.image).map_err(|_| StoreError::Unreadable { what: "an image" })?,
                        state: RevisionState::from_name(&r.state).ok_or(StoreError::Unreadable { what: "a state" })?,
                        reason: r.reason,
                        began: UnixMs(r.began),
                    },
                    seal: r.seal,
                })
            })
            .collect()
    }

    /// Keeps a content that is to come, beside the one that is `served`; one that was coming before gives way. The same again changes nothing.
    /// What is over and no live instance serves is forgotten.
    ///
    /// # Errors
    /// When its number is not above all before, or the container is gone, or the database fails.
    pub async fn begin_revision(&self, served: &KeptRevision, next: &KeptRevision) -> Result<(), StoreError> {
        let cid = next.container.0.as_slice();
        let (number, before, began) = (amount(next.revision.number), amount(served.revision.number), next.revision.began);
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(StoreError::database)?;
        let container = sqlx::query!("SELECT state, revision FROM containers WHERE id = ?", cid)
            .fetch_optional(&mut *tx)
            .await
            .map_err(StoreError::database)?
            .ok_or(StoreError::NotFound { what: "container" })?;
        if container.revision != 0 && container.revision != before {
            return Err(StoreError::NotFound { what: "container with that revision" });
        }
        let seal = sqlx::query_scalar!("SELECT seal FROM revisions WHERE container = ? AND number = ?", cid, number)
            .fetch_optional(&mut *tx)
            .await
            .map_err(StoreError::database)?;
        if seal.is_some_and(|seal| seal == next.seal) {
            return Ok(());
        }
        let newest = sqlx::query_scalar!("SELECT max(number) FROM revisions WHERE container = ?", cid)
            .fetch_one(&mut *tx)
            .await
            .map_err(StoreError::database)?;
        if number <= newest.unwrap_or(0).max(before) {
            return Err(StoreError::Taken { what: "revision" });
        }
        // From before revisions were kept.
        sqlx::query!("UPDATE containers SET revision = ? WHERE id = ? AND revision = 0", before, cid)
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database)?;
        sqlx::query!("UPDATE instances SET revision = ? WHERE container = ? AND revision = 0", before, cid)
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database)?;
        sqlx::query!(
            "UPDATE revisions SET state = 'given_up', reason = ? WHERE container = ? AND state = 'coming'",
            REPLACED,
            cid
        )
        .execute(&mut *tx)
        .await
        .map_err(StoreError::database)?;
        sqlx::query!(
            "DELETE FROM revisions WHERE container = ?1 AND state IN ('past', 'given_up') AND number NOT IN
             (SELECT revision FROM instances WHERE container = ?1 AND state NOT IN ('ended', 'lost'))",
            cid
        )
        .execute(&mut *tx)
        .await
        .map_err(StoreError::database)?;
        for one in [served, next] {
            insert(&mut tx, one).await?;
        }
        let words = format!("update to revision {number}: {}", next.revision.reason);
        record(&mut tx, next.container, None, &container.state, &words, began).await?;
        tx.commit().await.map_err(StoreError::database)?;
        self.kill.committed(1);
        Ok(())
    }

    /// From now on visitors are told of the content that was coming: it becomes the container's, and `proof`, which has its seal, takes the place of
    /// the proof that was read as `before`.
    ///
    /// # Errors
    /// When it is not coming (any more), the proof is another one by now, or the database fails.
    pub async fn switch_revision(
        &self,
        cid: ContainerId,
        number: u64,
        before: &[u8],
        proof: &[u8],
        reason: &str,
        now: UnixMs,
    ) -> Result<(), StoreError> {
        let (bytes, number) = (cid.0.as_slice(), amount(number));
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(StoreError::database)?;
        let kept = sqlx::query!("SELECT spec, proof, state FROM containers WHERE id = ?", bytes)
            .fetch_optional(&mut *tx)
            .await
            .map_err(StoreError::database)?
            .filter(|kept| kept.proof == before)
            .ok_or(StoreError::NotFound { what: "container with that proof" })?;
        let image = go(&mut tx, cid, number, RevisionState::Moving, reason).await?;
        let mut spec: ContainerSpec =
            serde_json::from_str(&kept.spec).map_err(|_| StoreError::Unreadable { what: "a specification" })?;
        spec.image = image;
        let spec = serde_json::to_string(&spec).map_err(|_| StoreError::Unreadable { what: "a specification" })?;
        sqlx::query!("UPDATE containers SET spec = ?, proof = ?, revision = ? WHERE id = ?", spec, proof, number, bytes)
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database)?;
        sqlx::query!(
            "UPDATE revisions SET state = 'past', reason = 'another content took its place'
             WHERE container = ? AND state IN ('moving', 'served') AND number < ?",
            bytes,
            number
        )
        .execute(&mut *tx)
        .await
        .map_err(StoreError::database)?;
        record(&mut tx, cid, None, &kept.state, &format!("update to revision {number}: {reason}"), now).await?;
        tx.commit().await.map_err(StoreError::database)?;
        self.kill.committed(1);
        Ok(())
    }

    /// Moves a content from the state it is in, but for the switch.
    ///
    /// # Errors
    /// When the machine has no such move, or the database fails.
    pub async fn move_revision(
        &self,
        cid: ContainerId,
        number: u64,
        to: RevisionState,
        reason: &str,
        now: UnixMs,
    ) -> Result<(), StoreError> {
        let (bytes, number) = (cid.0.as_slice(), amount(number));
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(StoreError::database)?;
        let state = sqlx::query_scalar!("SELECT state FROM containers WHERE id = ?", bytes)
            .fetch_optional(&mut *tx)
            .await
            .map_err(StoreError::database)?
            .ok_or(StoreError::NotFound { what: "container" })?;
        go(&mut tx, cid, number, to, reason).await?;
        record(&mut tx, cid, None, &state, &format!("update to revision {number}: {reason}"), now).await?;
        tx.commit().await.map_err(StoreError::database)?;
        self.kill.committed(1);
        Ok(())
    }

    /// Keeps other numbers of copies that are asked for. All else of the specification stays as it is at this moment, whatever was read before.
    ///
    /// # Errors
    /// When the container is gone, or the database fails.
    pub async fn rescale(
        &self,
        cid: ContainerId,
        instances: u8,
        availability: Option<f64>,
        most: Option<u8>,
    ) -> Result<(), StoreError> {
        let cid = cid.0.as_slice();
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(StoreError::database)?;
        let spec = sqlx::query_scalar!("SELECT spec FROM containers WHERE id = ?", cid)
            .fetch_optional(&mut *tx)
            .await
            .map_err(StoreError::database)?
            .ok_or(StoreError::NotFound { what: "container" })?;
        let spec: ContainerSpec = serde_json::from_str(&spec).map_err(|_| StoreError::Unreadable { what: "a specification" })?;
        let spec = ContainerSpec { instances, availability, most, ..spec };
        let spec = serde_json::to_string(&spec).map_err(|_| StoreError::Unreadable { what: "a specification" })?;
        sqlx::query!("UPDATE containers SET spec = ? WHERE id = ?", spec, cid)
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database)?;
        tx.commit().await.map_err(StoreError::database)
    }
}

async fn insert(connection: &mut SqliteConnection, kept: &KeptRevision) -> Result<(), StoreError> {
    let KeptRevision { container, revision: r, seal } = kept;
    let (cid, number, state, began) = (container.0.as_slice(), amount(r.number), r.state.name(), r.began.0);
    let image = serde_json::to_string(&r.image).map_err(|_| StoreError::Unreadable { what: "an image" })?;
    sqlx::query!(
        "INSERT OR IGNORE INTO revisions (container, number, image, seal, state, reason, began) VALUES (?, ?, ?, ?, ?, ?, ?)",
        cid,
        number,
        image,
        seal,
        state,
        r.reason,
        began
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(StoreError::database)
}

/// Moves a content, and says what it is.
async fn go(
    connection: &mut SqliteConnection,
    cid: ContainerId,
    number: i64,
    to: RevisionState,
    reason: &str,
) -> Result<Image, StoreError> {
    let (cid, name) = (cid.0.as_slice(), to.name());
    let row = sqlx::query!("SELECT state, image FROM revisions WHERE container = ? AND number = ?", cid, number)
        .fetch_optional(&mut *connection)
        .await
        .map_err(StoreError::database)?
        .ok_or(StoreError::NotFound { what: "revision" })?;
    let state = RevisionState::from_name(&row.state).ok_or(StoreError::Unreadable { what: "a state" })?;
    state.go(to).map_err(StoreError::Move)?;
    sqlx::query!("UPDATE revisions SET state = ?, reason = ? WHERE container = ? AND number = ?", name, reason, cid, number)
        .execute(connection)
        .await
        .map_err(StoreError::database)?;
    serde_json::from_str(&row.image).map_err(|_| StoreError::Unreadable { what: "an image" })
}
