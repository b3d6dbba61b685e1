//! What can't be done is refused with a clear message, and nothing is lost by it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use anyhow::Result;
use fogbank_harness::{Fog, FogPlan, Process};
use fogbank_node::control::{Amounts, ControlReply, ControlRequest, LevelDto, RoleDto};
use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

fn publish(folder: &Path, requirements: Amounts, instances: u8) -> ControlRequest {
    ControlRequest::Publish {
        folder: folder.to_string_lossy().into_owned(),
        name: "refused".to_owned(),
        requirements,
        instances,
        availability: None,
        most: None,
        level: LevelDto::Fast,
        private: false,
        direct: false,
    }
}

const SMALL: Amounts = Amounts { cpu_cores: 0.1, memory_mb: 40.0, storage_mb: 10.0, bandwidth_mbps: 1.0 };

/// Asks and expects a refusal whose words hold all of `words`.
async fn refused(process: &Process, request: ControlRequest, words: &[&str]) {
    let what = format!("{request:?}");
    let error = process.ask(request).await.map(|reply| format!("{reply:?}")).unwrap_err();
    let text = format!("{error:#}").to_lowercase();
    for word in words {
        assert!(text.contains(&word.to_lowercase()), "{what}: “{text}” does not say “{word}”");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_and_requirements_that_cannot_be() -> Result<()> {
    let fog = Fog::start(FogPlan { devices: 2, publisher: true, ..FogPlan::default() }).await?;
    let publisher = fog.publisher.as_ref().unwrap();
    let site = |name: &str| {
        let folder = fog.folder().join("sites").join(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    };
    let page = |folder: &Path| std::fs::write(folder.join("index.html"), "hello").unwrap();

    let empty = site("empty");
    refused(publisher, publish(&empty, SMALL, 2), &["empty"]).await;
    let bare = site("bare");
    std::fs::write(bare.join("page.html"), "x")?;
    refused(publisher, publish(&bare, SMALL, 2), &["index.html"]).await;
    refused(publisher, publish(&fog.folder().join("nowhere"), SMALL, 2), &["nowhere"]).await;
    let link = site("link");
    page(&link);
    std::os::unix::fs::symlink("/etc/passwd", link.join("passwd"))?;
    refused(publisher, publish(&link, SMALL, 2), &["passwd", "link"]).await;

    let good = site("good");
    page(&good);
    for wrong in [0.0, -1.0, 1e18] {
        let requirements = Amounts { memory_mb: wrong, ..SMALL };
        refused(publisher, publish(&good, requirements, 2), &["memory"]).await;
    }
    refused(publisher, publish(&good, SMALL, 0), &["cop"]).await;
    refused(publisher, publish(&good, SMALL, 200), &["cop"]).await;
    let huge = Amounts { memory_mb: 10_000_000.0, ..SMALL };
    refused(publisher, publish(&good, huge, 2), &["memory", "short", "largest request that fits"]).await;
    refused(publisher, publish(&good, SMALL, 9), &["9 copies", "2 devices"]).await;
    assert!(publisher.containers().await?.is_empty(), "a refused container was kept");

    let odd = site("odd names \u{1f32b}");
    page(&odd);
    std::fs::write(odd.join("two words \u{fc}.txt"), "x")?;
    let ControlReply::Created { id, .. } = publisher.ask(publish(&odd, SMALL, 2)).await? else { panic!("not created") };
    assert_eq!(publisher.containers().await?.len(), 1);
    let unknown = "a".repeat(26);
    refused(publisher, ControlRequest::Stop { id: unknown }, &["no container"]).await;
    refused(publisher, ControlRequest::Stop { id: "..".to_owned() }, &["container id"]).await;
    refused(publisher, ControlRequest::Restart { id: id.clone() }, &["only one that has stopped"]).await;
    refused(&fog.devices[0], publish(&good, SMALL, 2), &["publish"]).await;
    refused(&fog.devices[0], ControlRequest::Invite { roles: vec![RoleDto::Publish], valid_s: 60 }, &["administer"]).await;
    refused(&fog.devices[0], ControlRequest::Delete { id }, &["no container"]).await;
    fog.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn tickets_keys_and_profiles_that_are_not_taken() -> Result<()> {
    let fog = Fog::start(FogPlan::default()).await?;
    let newcomer = Process::start(fog.folder(), "newcomer", false).await?;
    refused(&newcomer, ControlRequest::Join { ticket: "hello".to_owned() }, &["not a fogbank ticket"]).await;
    let whole = fog.ticket(&[RoleDto::Contribute]).await?;
    refused(&newcomer, ControlRequest::Join { ticket: whole[..whole.len() - 5].to_owned() }, &["damaged"]).await;
    let ControlReply::Ticket(short) =
        fog.allocator.ask(ControlRequest::Invite { roles: vec![RoleDto::Contribute], valid_s: 1 }).await?
    else {
        panic!("no ticket")
    };
    tokio::time::sleep(Duration::from_millis(1_200)).await; // the ticket's own life, not a guess
    refused(&newcomer, ControlRequest::Join { ticket: short }, &["expired"]).await;
    let other = Fog::start(FogPlan::default()).await?;
    let wrong = other.ticket(&[RoleDto::Contribute]).await?;
    other.end().await?;
    refused(&newcomer, ControlRequest::Join { ticket: wrong }, &["allocator"]).await;
    refused(&newcomer, ControlRequest::Lend { on: true, direct: false }, &["no fog"]).await;
    assert!(newcomer.status().await?.fog.is_none(), "a refused join left a membership");
    newcomer.ask(ControlRequest::Join { ticket: whole }).await?;
    assert!(newcomer.status().await?.fog.unwrap().connected);

    let second = Process::start(fog.folder(), "newcomer", false).await.unwrap_err();
    assert!(format!("{second:#}").contains("in use"), "{second:#}");
    fog.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_files_are_named_and_kept() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut node = Process::start(folder.path(), "node", false).await?;
    node.ask(ControlRequest::StartFog { name: "Damage".to_owned(), test: true, relay: None }).await?;
    let profile = node.profile().to_owned();
    node.quit().await?;
    let database = std::fs::read_dir(&profile)?
        .map(|e| e.unwrap().path())
        .find(|p| p.extension().is_some_and(|e| e == "sqlite"))
        .expect("a database");
    for file in [database, profile.join("identity.json")] {
        let whole = std::fs::read(&file)?;
        let damaged: Vec<u8> = whole.iter().map(|b| b ^ 0x5a).collect();
        std::fs::write(&file, &damaged)?;
        let error = format!("{:#}", Process::start(folder.path(), "node", false).await.unwrap_err());
        let name = file.file_name().unwrap().to_string_lossy();
        assert!(error.contains("damaged") && error.contains(&*name), "{error}");
        assert_eq!(std::fs::read(&file)?, damaged, "{name} was changed");
        std::fs::write(&file, &whole)?;
    }
    let mut node = Process::start(folder.path(), "node", false).await?;
    assert_eq!(node.status().await?.fog.unwrap().name, "Damage");
    node.quit().await
}

#[test]
fn a_taken_proxy_port_and_a_node_that_is_not_there_are_said() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let fogbankd = |arguments: &[&str]| {
        let output =
            Command::new(Process::binary().unwrap()).args(arguments).arg("--profile").arg(folder.path()).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let error = fogbankd(&["run", "--listen", "127.0.0.1", "--proxy", &port]);
    assert!(
        error.contains(&port)
            && error.contains("another program uses that port")
            && error.contains("--proxy 0")
            && !error.contains("ERROR"),
        "{error}"
    );
    let error = fogbankd(&["status"]);
    assert!(error.contains("no Fogbank node runs"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_that_read_answers_are_told_of_errors_and_may_stop_reading() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut node = Process::start(folder.path(), "node", false).await?;
    let fogbankd = |profile: &Path, arguments: &[&str]| {
        let mut command = Command::new(Process::binary().unwrap());
        command.args(arguments).arg("--profile").arg(profile);
        command
    };
    // Refused by the node, and not answered by one.
    for (profile, kind) in [(node.profile(), "no_fog"), (folder.path(), "failed")] {
        let output = fogbankd(profile, &["--json", "containers"]).output()?;
        assert!(!output.status.success() && output.stderr.is_empty(), "{output:?}");
        let reply: ControlReply = serde_json::from_slice(&output.stdout)?;
        assert!(matches!(&reply, ControlReply::Failed(error) if !error.what.is_empty()), "{reply:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains(kind), "{output:?}");
    }
    for arguments in [&["status"][..], &["--json", "status"]] {
        let mut command = fogbankd(node.profile(), arguments);
        let mut asking = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        // As `head -0` would. Long before the process has started and the node has answered.
        drop(asking.stdout.take());
        let output = asking.wait_with_output()?;
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    }
    node.quit().await
}
