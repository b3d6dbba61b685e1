//! The window hosts the node of a profile, or attaches to the one that runs already.

#![allow(clippy::unwrap_used, reason = "tests")]

use fogbank_node::{
    NodeOptions, ProxyPort, Session,
    control::{ControlReply, ControlRequest, RelayStateDto},
};
use std::net::Ipv4Addr;

async fn device(session: &Session) -> String {
    match session.call(ControlRequest::Status).await {
        ControlReply::Status(status) => status.device,
        other => panic!("no status: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_window_attaches_and_leaves_the_node_running() {
    let folder = tempfile::tempdir().unwrap();
    let options = NodeOptions { listen: Ipv4Addr::LOCALHOST.into(), proxy: ProxyPort::Off, ..NodeOptions::default() };
    let first = Session::open(folder.path(), options).await.unwrap();
    let second = Session::open(folder.path(), options).await.unwrap();
    assert!(first.is_hosted() && !second.is_hosted());
    let id = device(&first).await;
    assert_eq!(device(&second).await, id);

    second.shutdown().await;
    assert_eq!(device(&first).await, id, "closing the second window ended the node");
    second.call(ControlRequest::Quit).await;
    first.ended().await;
    first.shutdown().await;
    drop(first);
    let gone = second.call(ControlRequest::Status).await;
    assert!(matches!(&gone, ControlReply::Failed(error) if !error.todo.is_empty()), "{gone:?}");

    let third = Session::open(folder.path(), options).await.unwrap();
    assert_eq!(device(&third).await, id, "the install has kept its key");
    third.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_side_by_side_do_not_undo_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let options = NodeOptions { listen: Ipv4Addr::LOCALHOST.into(), proxy: ProxyPort::Off, ..NodeOptions::default() };
    let node = Session::open(folder.path(), options).await.unwrap();
    node.call(ControlRequest::StartFog { name: "Ours".to_owned(), test: true, relay: None }).await;
    for on in [true, false, true] {
        let answers = tokio::join!(
            node.call(ControlRequest::Lend { on, direct: false }),
            node.call(ControlRequest::Pause { on }),
            node.call(ControlRequest::Relay { on }),
        );
        assert_eq!(answers, (ControlReply::Done, ControlReply::Done, ControlReply::Done));
        let ControlReply::Status(status) = node.call(ControlRequest::Status).await else { panic!("no status") };
        assert_eq!((status.lend.is_some(), status.relaying == RelayStateDto::On), (on, on));
        assert_eq!(status.lend.map(|l| l.paused), on.then_some(true));
    }
    node.shutdown().await;
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_deep_profile_has_its_socket_where_nobody_else_can_put_one() {
    use std::os::unix::fs::MetadataExt;
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("a folder with a long name".repeat(6)).join("profile");
    let options = NodeOptions { listen: Ipv4Addr::LOCALHOST.into(), proxy: ProxyPort::Off, ..NodeOptions::default() };
    let node = Session::open(&deep, options).await.unwrap();
    let attached = Session::open(&deep, options).await.unwrap();
    assert!(!attached.is_hosted());
    assert_eq!(device(&attached).await, device(&node).await);
    let own = std::fs::metadata(&deep).unwrap().uid();
    let place = std::fs::symlink_metadata(std::env::temp_dir().join(format!("fogbank-{own}"))).unwrap();
    assert!(place.is_dir() && place.uid() == own && place.mode() & 0o077 == 0, "{place:?}");
    node.shutdown().await;
}
