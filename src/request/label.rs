//! Closed sets of words: each variant of an enum stands in one line with what is said of it.

/// An enum of unit variants with every one of them (`ALL`), and the word of each (`label`), a sentence (`says`) or
/// both: `Variant = "label";`, `Variant: "sentence";` or `Variant = "label", "sentence";`.
macro_rules! labelled {
    ($(#[$about:meta])+ pub enum $name:ident { $($(#[$of:meta])+ $variant:ident = $label:literal;)+ }) => {
        $crate::request::label::listed! { $(#[$about])+ pub enum $name { $($(#[$of])+ $variant;)+ } }

        impl $name {
            /// The word of configuration, headers, metrics and log.
            pub const fn label(self) -> &'static str {
                match self { $($name::$variant => $label),+ }
            }
        }
    };
    ($(#[$about:meta])+ pub enum $name:ident { $($(#[$of:meta])+ $variant:ident: $says:literal;)+ }) => {
        $crate::request::label::listed! { $(#[$about])+ pub enum $name { $($(#[$of])+ $variant;)+ } }

        impl $name {
            /// In words, without a value of anybody's.
            pub const fn says(self) -> &'static str {
                match self { $($name::$variant => $says),+ }
            }
        }
    };
    ($(#[$about:meta])+ pub enum $name:ident {
        $($(#[$of:meta])+ $variant:ident = $label:literal, $says:literal;)+
    }) => {
        $crate::request::label::labelled! { $(#[$about])+ pub enum $name { $($(#[$of])+ $variant = $label;)+ } }

        impl $name {
            /// In words, without a value of anybody's.
            pub const fn says(self) -> &'static str {
                match self { $($name::$variant => $says),+ }
            }
        }
    };
}
pub(crate) use labelled;

macro_rules! listed {
    ($(#[$about:meta])+ pub enum $name:ident { $($(#[$of:meta])+ $variant:ident;)+ }) => {
        $(#[$about])+
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        pub enum $name { $($(#[$of])+ $variant),+ }

        impl $name {
            /// Every one, in the order of the variants.
            pub const ALL: [$name; [$(stringify!($variant)),+].len()] = [$($name::$variant),+];
        }
    };
}
pub(crate) use listed;
