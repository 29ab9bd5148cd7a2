//! Ids are newtypes over small integers: an index into a table of the configuration or snapshot
//! that made them. They mean nothing in another one.

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $int:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub $int);

        impl $name {
            /// The id of the entry at `index`.
            ///
            /// # Panics
            /// When the table has outgrown the id's integer; builders bound their tables first.
            #[must_use]
            pub fn at(index: usize) -> Self {
                Self(<$int>::try_from(index).expect("tables are bounded below the id's range"))
            }

            /// The index of the entry in its table.
            #[must_use]
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

id!(/// An endpoint of the configuration, in the order of the file.
    EndpointId, u32);
id!(/// An endpoint within one plan: index into [`Plan::members`](super::Plan::members).
    Member, u8);
id!(/// A plan: endpoints and policy, shared by services.
    PlanId, u32);
id!(/// A service: a steered name.
    ServiceId, u32);
id!(/// A zone of the configuration.
    ZoneId, u32);
id!(/// An interned location.
    LocationId, u32);
id!(/// An interned order of one plan and address family.
    OrderId, u32);
id!(/// A counter's place in every worker's cells; it stays the same over reloads.
    CounterId, u32);
