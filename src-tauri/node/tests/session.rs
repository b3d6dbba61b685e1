//! The window hosts the node of a profile, or attaches to the one that runs already.

#![allow(clippy::unwrap_used, reason = "tests")]

use fogbank_node::{
    NodeOptions, ProxyPort, Session,
    control::{ControlReply, ControlRequest},
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
