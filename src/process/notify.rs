//! What the service manager is told, and what it keeps (`Type=notify`, sd_notify(3)). Without `NOTIFY_SOCKET`
//! nobody asked, and a manager that does not listen is no reason to stop.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;

use sd_notify::NotifyState;

/// The gateway serves, by this configuration.
pub fn ready(generation: u64) {
    let status = format!("serving, generation {generation}");
    tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// The gateway serves on the listeners of its predecessor, and is the unit's main process from now on.
pub fn ready_as_successor(generation: u64) {
    let status = format!("serving, generation {generation}");
    tell(&[
        NotifyState::MainPid(std::process::id()),
        NotifyState::Ready,
        NotifyState::Status(&status),
    ]);
}

/// A reload begins; the manager waits for [`ready`] or [`refused`].
pub fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

/// A reload ended without changing anything.
pub fn refused(generation: u64, faults: usize) {
    let status = format!("serving, generation {generation}; the last reload was refused, faults: {faults}");
    tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// The drain begins.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("draining")]);
}

/// Has a listener kept, so that whoever connects between this process and the next one of the unit waits for
/// that one and is not refused (`FileDescriptorStoreMax=`).
pub fn keep(listener: &TcpListener, address: SocketAddr) {
    let name = name(address);
    let state = [NotifyState::FdStore, NotifyState::FdName(&name)];
    let _ = sd_notify::notify_with_fds(&state, &[listener.as_fd()]);
}

/// Has a listener kept no longer, because the configuration no longer has it.
pub fn forget(address: SocketAddr) {
    let name = name(address);
    tell(&[NotifyState::FdStoreRemove, NotifyState::FdName(&name)]);
}

/// A descriptor's name has no colon.
fn name(address: SocketAddr) -> String {
    address.to_string().replace(':', "_")
}

fn tell(state: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(state);
}
