//! SOCKS5 (RFC 1928, 1929): connecting to a name, with user name and password as isolation.
//!
//! What can't be opened is refused with the code that says most, but on the port of sites: there the connection is taken and the page says why, as
//! a browser shows no more of a refusal than that there was one.

use crate::{
    isolation::Asker,
    pipe,
    port::{REQUEST_DEADLINE, Shared},
    target::{self, SITE_PORT},
    way::{self, First, Way},
};
use fast_socks5::{
    ReplyError, Socks5Command,
    server::{
        Socks5ServerProtocol, SocksServerError, StandardAuthentication, StandardAuthenticationStarted, states::Authenticated,
    },
    util::target_addr::TargetAddr,
};
use fogbank_betanet::client::ConnectError;
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};
use tokio::{net::TcpStream, time::timeout};

pub(crate) async fn serve(socket: TcpStream, shared: Arc<Shared>) -> Result<(), SocksServerError> {
    let request = async {
        let (protocol, asker) = authenticate(socket).await?;
        let (protocol, command, target) = protocol.read_command().await?;
        Ok::<_, SocksServerError>((protocol, command, target, asker))
    };
    let Ok(request) = timeout(REQUEST_DEADLINE, request).await else { return Ok(()) };
    let (protocol, command, target, asker) = request?;
    if !matches!(command, Socks5Command::TCPConnect) {
        return protocol.reply_error(&ReplyError::CommandNotSupported).await;
    }
    let TargetAddr::Domain(name, port) = &target else {
        return protocol.reply_error(&ReplyError::ConnectionNotAllowed).await;
    };
    let Some(onion) = target::onion(name) else {
        return protocol.reply_error(&ReplyError::ConnectionNotAllowed).await;
    };
    let way = Way::new(shared, onion, asker);
    let site_port = *port == SITE_PORT;
    let first = way.first().await;
    let refusal = match &first {
        First::NoFog if !site_port => Some(ReplyError::NetworkUnreachable),
        First::Failed(error @ ConnectError::Address(_)) => Some(reply(error)),
        First::Failed(error) if !site_port => Some(reply(error)),
        // A site has one port. The browser that tries that of HTTPS first goes on to it at once.
        First::Known => (!site_port).then_some(ReplyError::ConnectionRefused),
        First::Opened(opened) if opened.seal.is_some() && !site_port => Some(ReplyError::ConnectionRefused),
        _ => None,
    };
    if let Some(refusal) = refusal {
        return protocol.reply_error(&refusal).await;
    }
    let socket = protocol.reply_success(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))).await?;
    match first {
        First::Opened(opened) if opened.seal.is_none() => pipe::app(socket, way, opened).await,
        first => way::serve(socket, way, first).await,
    }
    Ok(())
}

/// Takes a user name and a password if the program offers them, whatever they are.
async fn authenticate(socket: TcpStream) -> Result<(Socks5ServerProtocol<TcpStream, Authenticated>, Asker), SocksServerError> {
    let methods = StandardAuthentication::allow_no_auth(true);
    match Socks5ServerProtocol::start(socket).negotiate_auth(methods).await? {
        StandardAuthenticationStarted::NoAuthentication(auth) => Ok((Socks5ServerProtocol::finish_auth(auth), Asker::default())),
        StandardAuthenticationStarted::PasswordAuthentication(auth) => {
            let (user, password, auth) = auth.read_username_password().await?;
            Ok((Socks5ServerProtocol::finish_auth(auth.accept().await?), Asker::new(&user, &password)))
        }
    }
}

fn reply(error: &ConnectError) -> ReplyError {
    match error {
        ConnectError::Address(_) | ConnectError::NotDirect | ConnectError::NoOwner => ReplyError::ConnectionNotAllowed,
        ConnectError::NotPrivate { .. } => ReplyError::NetworkUnreachable,
        ConnectError::NotFound | ConnectError::Stopped | ConnectError::Locked => ReplyError::HostUnreachable,
        ConnectError::NoAnswer { .. } | ConnectError::NoHonest => ReplyError::ConnectionRefused,
        ConnectError::TimedOut { .. } => ReplyError::TtlExpired,
        ConnectError::TooMany | ConnectError::Ended => ReplyError::GeneralFailure,
    }
}
