//! `Message` becomes `Call`: every field read into its type, every fault found in one pass.

mod call;
mod read;
#[cfg(test)]
mod tests;

use crate::request::message::{Kind, Message};
pub use call::{Call, Event, FieldRules, Known, Own, PlaceRule, Robot, Unsound, Widget};
use read::Read;

/// Reads every known field of the message into its type.
///
/// # Errors
/// All faults at once, at least one, with whatever could be read nevertheless.
pub fn validate(message: Message<'_>, rules: FieldRules<'_>) -> Result<Call, Box<Unsound>> {
    let mut read = Read::of(message, rules);
    let call = match message.kind() {
        Kind::Placement => read.placement().map(Call::Placement),
        Kind::Event => read.event().map(Call::Event),
        Kind::Robot => read.robot().map(Call::Robot),
        Kind::Own => Ok(Call::Own(read.own())),
    };
    let faults = read.end();
    match call {
        Ok(call) if faults.is_empty() => Ok(call),
        rest => Err(Box::new(Unsound {
            faults,
            message: message.kind(),
            rest,
        })),
    }
}
