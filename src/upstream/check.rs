//! One active check of a server.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::timeout;

use super::address::Address;
use super::answer::Asked;
use super::failure::Cause;
use super::health::CheckRule;
use super::pool::Resend;
use super::proof::Proof;
use super::send;
use super::server::Server;

/// Connects, and asks for the rule's path if it has one; all of it within the rule's time. Says whether the
/// server is healthy; none where that could not be found out.
pub async fn check(
    server: &Arc<Server>,
    rule: &CheckRule,
    proof: Option<&Proof>,
) -> Option<Result<(), Cause>> {
    match timeout(rule.timeout, ask(server, rule, proof)).await {
        Ok(Ok(())) => Some(Ok(())),
        Ok(Err(cause)) => cause.map(Err),
        Err(_) => Some(Err(Cause::Timeout)),
    }
}

/// Fails without a cause where the fault is ours.
async fn ask(server: &Arc<Server>, rule: &CheckRule, proof: Option<&Proof>) -> Result<(), Option<Cause>> {
    let connection = server.connect().await?;
    let Some(path) = &rule.path else {
        return Ok(());
    };
    let host = match &server.address {
        Address::Inet(_) => &*server.name,
        Address::Unix(_) | Address::Sample => "localhost",
    };
    let mut head = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {}\r\nAccept: */*\r\nConnection: close\r\n",
        env!("CARGO_PKG_NAME")
    )
    .into_bytes();
    if let Some(proof) = proof {
        proof.append(&mut head);
    }
    head.extend_from_slice(b"\r\n");
    let request = send::Request::new(head, &Bytes::new(), Asked::Usual, Resend::Never);
    let status = send::status_of(connection, server, rule.timeout, &request).await?;
    let (least, most) = rule.status;
    match (least..=most).contains(&status) {
        true => Ok(()),
        false => Err(Some(Cause::BadAnswer)),
    }
}
