//! The names that Bitrix24 gives meaning to, and sets of them in one word.

use super::values::Domain;

macro_rules! fields {
    ($($variant:ident = $name:literal $(told as $told:literal)?),+ $(,)?) => {
        /// A name that Bitrix24 gives meaning to (case-sensitive): alone, or as a path of names.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        pub enum Field { $(#[doc = concat!("`", $name, "`")] $variant),+ }

        impl Field {
            /// Every known name, in the order of the contract.
            pub const ALL: [Field; [$($name),+].len()] = [$(Field::$variant),+];

            /// The name on the wire.
            pub const fn name(self) -> &'static str {
                match self { $(Field::$variant => $name),+ }
            }

            /// The name in answers, log lines and metrics.
            pub const fn told(self) -> &'static str {
                match self { $(Field::$variant => fields!(@told $name $($told)?)),+ }
            }

            /// The field of exactly this name.
            pub fn named(name: &[u8]) -> Option<Field> {
                // Names on the wire are mostly known ones; the length rules out nearly all others.
                $(if name == $name.as_bytes() { return Some(Field::$variant); })+
                None
            }
        }
    };
    (@told $name:literal) => { $name };
    (@told $name:literal $told:literal) => { $told };
}

fields! {
    Domain = "DOMAIN", Protocol = "PROTOCOL", Lang = "LANG", AppSid = "APP_SID",
    AuthId = "AUTH_ID", AuthExpires = "AUTH_EXPIRES", RefreshId = "REFRESH_ID",
    ServerEndpoint = "SERVER_ENDPOINT", ApplicationToken = "APPLICATION_TOKEN",
    ApplicationScope = "APPLICATION_SCOPE", MemberId = "member_id", Status = "status",
    Placement = "PLACEMENT", PlacementOptions = "PLACEMENT_OPTIONS",
    Event = "event", EventToken = "event_token", WorkflowId = "workflow_id",
    AuthMemberId = "auth[member_id]", AuthDomain = "auth[domain]",
    AuthClientEndpoint = "auth[client_endpoint]", AuthServerEndpoint = "auth[server_endpoint]",
    AuthAccessToken = "auth[access_token]" told as "auth[token]",
    AuthRefreshToken = "auth[refresh_token]" told as "auth[token]",
    AuthApplicationToken = "auth[application_token]" told as "auth[token]",
    Auth = "auth",
}

impl Field {
    /// How many names are known.
    pub const COUNT: usize = Field::ALL.len();

    /// Bitrix24 sends these four in the handler's address, every other field in the body.
    pub const IN_ADDRESS: FieldSet =
        FieldSet::of(&[Field::Domain, Field::Protocol, Field::Lang, Field::AppSid]);

    /// What an own request of the handler's page is judged by, where it is there; its other names are its own.
    pub const OF_IDENTITY: FieldSet = FieldSet::of(&[
        Field::Domain,
        Field::MemberId,
        Field::ServerEndpoint,
        Field::AuthId,
        Field::RefreshId,
        Field::ApplicationToken,
    ]);

    /// Names of a placement call.
    pub const OF_PLACEMENT: FieldSet = FieldSet::of(Field::ALL.split_at(Field::Event.index()).0);

    /// Names of an event.
    pub const OF_EVENT: FieldSet = FieldSet::of(Field::IN_AUTH).and(Field::Event);

    /// Names of a robot's call.
    pub const OF_ROBOT: FieldSet = FieldSet::of(Field::IN_AUTH)
        .and(Field::EventToken)
        .and(Field::WorkflowId);

    /// The names that are known under `auth`.
    const IN_AUTH: &'static [Field] = &[
        Field::AuthMemberId,
        Field::AuthDomain,
        Field::AuthClientEndpoint,
        Field::AuthServerEndpoint,
        Field::AuthAccessToken,
        Field::AuthRefreshToken,
        Field::AuthApplicationToken,
    ];

    /// The tokens under `auth`.
    pub const AUTH_TOKENS: [Field; 3] = [
        Field::AuthAccessToken,
        Field::AuthRefreshToken,
        Field::AuthApplicationToken,
    ];

    /// Position in [`Field::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The field `auth[key]`; [`Field::Auth`] where the key has none of its own.
    pub fn in_auth(key: &[u8]) -> Field {
        let is_of_key = |field: &Field| {
            let path = field.name().as_bytes().strip_prefix(b"auth[");
            path.and_then(|path| path.strip_suffix(b"]")) == Some(key)
        };
        Field::ALL.into_iter().find(is_of_key).unwrap_or(Field::Auth)
    }

    /// Whether the name is `auth` or a path under it.
    pub const fn is_auth(self) -> bool {
        self.index() >= Field::AuthMemberId.index()
    }

    /// Whether two values of the field are one: the same bytes, or for a domain the same once normalized.
    pub fn is_same(self, a: &[u8], b: &[u8]) -> bool {
        a == b
            || matches!(self, Field::Domain | Field::AuthDomain)
                && Domain::parse(a).is_ok_and(|a| Domain::parse(b).is_ok_and(|b| a == b))
    }
}

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
