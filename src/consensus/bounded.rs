//! Lists and bytes with a bound, checked before anything is allocated.

use std::ops::Deref;

use bincode::de::read::Reader;
use bincode::de::{BorrowDecoder, Decoder};
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{BorrowDecode, Decode, Encode};
use bytes::Bytes;

/// Bytes are read in pieces of this length.
const PIECE: usize = 32 << 10;

/// At most `MAX` items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List<T, const MAX: usize>(Vec<T>);

impl<T, const MAX: usize> List<T, MAX> {
    /// These, if they are not too many.
    #[must_use]
    pub fn new(items: Vec<T>) -> Option<Self> {
        (items.len() <= MAX).then_some(Self(items))
    }

    /// The items.
    #[must_use]
    pub fn into_vec(self) -> Vec<T> {
        self.0
    }
}

impl<T, const MAX: usize> Default for List<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, const MAX: usize> Deref for List<T, MAX> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Encode, const MAX: usize> Encode for List<T, MAX> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        (self.0.len() as u64).encode(encoder)?;
        self.0.iter().try_for_each(|item| item.encode(encoder))
    }
}

impl<C, T: Decode<C>, const MAX: usize> Decode<C> for List<T, MAX> {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let len = u64::decode(decoder)?;
        if len > MAX as u64 {
            return Err(DecodeError::Other("a list is longer than it may be"));
        }
        (0..len).map(|_| T::decode(decoder)).collect::<Result<_, _>>().map(Self)
    }
}
impl<'de, C, T: Decode<C>, const MAX: usize> BorrowDecode<'de, C> for List<T, MAX> {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Decode::decode(decoder)
    }
}

/// At most `MAX` bytes that mean nothing here. A clone shares them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blob<const MAX: usize>(Bytes);

impl<const MAX: usize> Blob<MAX> {
    /// These, if they are not too many.
    #[must_use]
    pub fn new(bytes: Bytes) -> Option<Self> {
        (bytes.len() <= MAX).then_some(Self(bytes))
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }
}

impl<const MAX: usize> Encode for Blob<MAX> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.0.as_ref().encode(encoder)
    }
}

impl<C, const MAX: usize> Decode<C> for Blob<MAX> {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let len = usize::try_from(u64::decode(decoder)?).unwrap_or(usize::MAX);
        if len > MAX {
            return Err(DecodeError::Other("a value is longer than it may be"));
        }
        decoder.claim_bytes_read(len)?;
        // What is only claimed is not allocated: pieces are, as they come.
        let mut bytes = Vec::new();
        while bytes.len() < len {
            let from = bytes.len();
            bytes.resize(len.min(from + PIECE), 0);
            decoder.reader().read(&mut bytes[from..])?;
        }
        Ok(Self(bytes.into()))
    }
}
impl<'de, C, const MAX: usize> BorrowDecode<'de, C> for Blob<MAX> {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Decode::decode(decoder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_refused_before_it_is_read() {
        let config = bincode::config::standard();
        let claimed = bincode::encode_to_vec(u64::MAX, config).unwrap();
        assert!(bincode::decode_from_slice::<List<u64, 8>, _>(&claimed, config).is_err());
        assert!(bincode::decode_from_slice::<Blob<8>, _>(&claimed, config).is_err());
        assert_eq!((List::<u8, 2>::new(vec![0; 3]), Blob::<2>::new(vec![0; 3].into())), (None, None));
        let blob = Blob::<8>::new(Bytes::from_static(b"12345678")).unwrap();
        let bytes = bincode::encode_to_vec(&blob, config).unwrap();
        assert_eq!(bincode::decode_from_slice(&bytes, config).unwrap(), (blob, bytes.len()));
    }
}
