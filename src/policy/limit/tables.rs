//! The tables of keys that the process has, and what was counted of the store of shared ones: they outlive every
//! configuration.

use std::sync::Arc;

use super::decision::PolicyName;
use super::keys::KeyTable;
use super::shared::Tally;

/// The tables of all policies, one each: a flood of one kind of key takes no room from another.
pub struct KeyTables {
    of_policy: [Arc<KeyTable>; PolicyName::ALL.len()],
    newcomers: Arc<KeyTable>,
    tally: Arc<Tally>,
}

impl KeyTables {
    /// A bound of `max_keys` for each of them.
    pub fn new(max_keys: usize) -> KeyTables {
        let table = || Arc::new(KeyTable::new(max_keys));
        KeyTables {
            of_policy: PolicyName::ALL.map(|_| table()),
            newcomers: table(),
            tally: Arc::default(),
        }
    }

    /// Changes the bound of each.
    pub fn set_max_keys(&self, max_keys: usize) {
        let all = self.of_policy.iter().chain([&self.newcomers]);
        all.for_each(|table| table.set_max_keys(max_keys));
    }

    /// The table of a policy.
    pub fn of(&self, policy: PolicyName) -> &Arc<KeyTable> {
        let [first, ..] = &self.of_policy;
        self.of_policy.get(policy as usize).unwrap_or(first)
    }

    /// The table of what clients may bring.
    pub(super) fn newcomers(&self) -> &Arc<KeyTable> {
        &self.newcomers
    }

    /// What is counted of the store of shared limits, if there is one.
    pub fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    /// Each policy and its table.
    pub fn each(&self) -> impl Iterator<Item = (PolicyName, &KeyTable)> {
        PolicyName::ALL
            .into_iter()
            .zip(self.of_policy.iter().map(|table| &**table))
    }
}
