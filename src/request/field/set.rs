//! A set of fields in one word.

use super::Field;

/// Some of [`Field::ALL`].
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct FieldSet(u32);

const _: () = assert!(Field::COUNT <= u32::BITS as usize);

impl FieldSet {
    /// The fields of a list.
    pub const fn of(mut fields: &[Field]) -> FieldSet {
        let mut bits = 0;
        while let [first, rest @ ..] = fields {
            bits |= 1 << first.index();
            fields = rest;
        }
        FieldSet(bits)
    }

    /// Whether the field is in the set.
    pub const fn has(self, field: Field) -> bool {
        self.0 & 1 << field.index() != 0
    }

    /// The set with the field in it.
    pub const fn and(self, field: Field) -> FieldSet {
        FieldSet(self.0 | 1 << field.index())
    }

    /// Puts the field in.
    pub fn insert(&mut self, field: Field) {
        *self = self.and(field);
    }

    /// Its fields, in the order of the contract.
    pub fn iter(self) -> impl Iterator<Item = Field> {
        Field::ALL.into_iter().filter(move |&field| self.has(field))
    }
}

impl FromIterator<Field> for FieldSet {
    fn from_iter<I: IntoIterator<Item = Field>>(fields: I) -> FieldSet {
        let mut set = FieldSet::default();
        fields.into_iter().for_each(|field| set.insert(field));
        set
    }
}

impl std::fmt::Debug for FieldSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}
