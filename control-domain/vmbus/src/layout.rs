//! How the layouts of the wire are written down.

/// Structures as they lie in the guest's memory: packed, every field little-endian bytes, all public. The
/// traits of the `zerocopy` crate that it derives are imported where it is used.
#[macro_export]
macro_rules! layout {
    ($($(#[$meta:meta])* $name:ident { $($(#[$fmeta:meta])* $field:ident: $ty:ty,)* })*) => {$(
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
        pub struct $name { $($(#[$fmeta])* pub $field: $ty,)* }
    )*};
}
