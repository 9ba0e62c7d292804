//! Keys that are taken from the payload.

/// A function that reads the key of a payload; none if this payload has no key.
pub type KeyOf<T> = fn(&T, &mut Vec<u8>) -> bool;

/// A field that can be a key: `#[output(key = "field")]`.
///
/// Text goes as UTF-8, numbers and booleans as their decimal text, so that a key reads the same on every broker and in every language.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a key",
    note = "a key is a string, an integer, a boolean, bytes, or an `Option` of these; for other types use `.key(..)` when sending"
)]
pub trait Key {
    /// Appends the key's bytes; returns false if there is no key.
    fn write(&self, out: &mut Vec<u8>) -> bool;
}

macro_rules! text_keys {
    ($($type:ty),*) => {
        $(impl Key for $type {
            fn write(&self, out: &mut Vec<u8>) -> bool {
                out.extend_from_slice(self.to_string().as_bytes());
                true
            }
        })*
    };
}

text_keys!(i8, i16, i32, i64, i128, isize, u8, u16, u32, u64, u128, usize, bool);

macro_rules! byte_keys {
    ($($type:ty),*) => {
        $(impl Key for $type {
            fn write(&self, out: &mut Vec<u8>) -> bool {
                out.extend_from_slice(AsRef::<[u8]>::as_ref(self));
                true
            }
        })*
    };
}

byte_keys!(String, str, bytes::Bytes, Vec<u8>, [u8]);

impl<K: Key + ?Sized> Key for std::sync::Arc<K> {
    fn write(&self, out: &mut Vec<u8>) -> bool {
        (**self).write(out)
    }
}

impl<K: Key + ?Sized> Key for &K {
    fn write(&self, out: &mut Vec<u8>) -> bool {
        (**self).write(out)
    }
}

impl<K: Key> Key for Option<K> {
    fn write(&self, out: &mut Vec<u8>) -> bool {
        self.as_ref().is_some_and(|key| key.write(out))
    }
}
