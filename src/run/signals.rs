//! The signals that the process answers. They are heard from its first moment on, so that none of them
//! ends it by default.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heard {
    /// SIGTERM: drain and stop.
    Terminate,
    /// SIGINT: stop now.
    Interrupt,
    /// SIGQUIT: hand the listeners to a successor.
    Quit,
    /// SIGHUP: reload.
    Hangup,
    /// SIGUSR1, which asks other servers to open their logs anew; here standard error is the log.
    User1,
    /// SIGUSR2, which asks other servers for an upgrade.
    User2,
}

impl Heard {
    /// The signal's name.
    pub const fn name(self) -> &'static str {
        match self {
            Heard::Terminate => "SIGTERM",
            Heard::Interrupt => "SIGINT",
            Heard::Quit => "SIGQUIT",
            Heard::Hangup => "SIGHUP",
            Heard::User1 => "SIGUSR1",
            Heard::User2 => "SIGUSR2",
        }
    }
}

/// Hears every signal of [`Heard`].
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangup: Signal,
    user1: Signal,
    user2: Signal,
}

impl Signals {
    /// Takes the signals over, within a runtime.
    ///
    /// # Errors
    /// Where the system does not let it.
    pub fn new() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    /// Waits for SIGINT alone.
    pub async fn interrupt(&mut self) -> Heard {
        self.interrupt.recv().await;
        Heard::Interrupt
    }

    /// Waits for the next signal. None is lost where this is dropped before.
    pub async fn next(&mut self) -> Heard {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => Heard::Interrupt,
            _ = self.terminate.recv() => Heard::Terminate,
            _ = self.quit.recv() => Heard::Quit,
            _ = self.hangup.recv() => Heard::Hangup,
            _ = self.user1.recv() => Heard::User1,
            _ = self.user2.recv() => Heard::User2,
        }
    }
}
