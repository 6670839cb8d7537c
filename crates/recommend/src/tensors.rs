//! Named tensors to and from the safetensors format: little-endian, sorted by name, so that equal models are equal bytes.
//!
//! In: borrowed slices, or the bytes of a file.  Out: bytes, or owned vectors of a checked shape.
//! Never here: what a tensor means; unsafe casts.
//! Start at [`NamedTensor`] and [`TensorFile`].

use std::borrow::Cow;

use safetensors::tensor::{Dtype, View};
use safetensors::{SafeTensorError, SafeTensors};

/// A tensor about to be written.
#[derive(Debug)]
pub(crate) struct NamedTensor<'a> {
    pub(crate) name: String,
    shape: Vec<usize>,
    values: Values<'a>,
}

#[derive(Debug)]
enum Values<'a> {
    F32(&'a [f32]),
    U32(&'a [u32]),
}

impl<'a> NamedTensor<'a> {
    pub(crate) fn f32(name: &str, shape: Vec<usize>, values: &'a [f32]) -> Self {
        Self { name: name.to_owned(), shape, values: Values::F32(values) }
    }

    pub(crate) fn u32(name: &str, shape: Vec<usize>, values: &'a [u32]) -> Self {
        Self { name: name.to_owned(), shape, values: Values::U32(values) }
    }

    /// The same tensor as one of a part's.
    pub(crate) fn of_part(self, part: usize) -> Self {
        Self { name: format!("{part}.{}", self.name), ..self }
    }
}

impl View for &NamedTensor<'_> {
    fn dtype(&self) -> Dtype {
        match self.values {
            Values::F32(_) => Dtype::F32,
            Values::U32(_) => Dtype::U32,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let mut bytes = vec![0u8; self.data_len()];
        let words = bytes.chunks_exact_mut(4);
        match self.values {
            Values::F32(values) => {
                words.zip(values).for_each(|(word, value)| word.copy_from_slice(&value.to_le_bytes()))
            }
            Values::U32(values) => {
                words.zip(values).for_each(|(word, value)| word.copy_from_slice(&value.to_le_bytes()))
            }
        }
        Cow::Owned(bytes)
    }

    fn data_len(&self) -> usize {
        4 * match self.values {
            Values::F32(values) => values.len(),
            Values::U32(values) => values.len(),
        }
    }
}

/// The tensors of a file, not yet copied out of its bytes.
#[derive(Debug)]
pub(crate) struct TensorFile<'a> {
    tensors: SafeTensors<'a>,
    /// Of the part that is read, such as `0.`; empty unless the artefact is a blend.
    prefix: String,
}

impl<'a> TensorFile<'a> {
    /// Reads the header; it must describe every byte that follows.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, SafeTensorError> {
        Ok(Self { tensors: SafeTensors::deserialize(bytes)?, prefix: String::new() })
    }

    /// From now on names mean tensors of this part.
    pub(crate) fn select_part(&mut self, part: usize) {
        self.prefix = format!("{part}.");
    }

    fn words(&self, name: &str, dtype: Dtype, shape: &[usize]) -> Result<impl Iterator<Item = [u8; 4]> + 'a, String> {
        let tensor = self.tensors.tensor(&format!("{}{name}", self.prefix)).map_err(|error| error.to_string())?;
        if tensor.dtype() != dtype || tensor.shape() != shape {
            return Err(format!(
                "tensor `{name}` is {:?} {:?}, expected {dtype:?} {shape:?}",
                tensor.dtype(),
                tensor.shape()
            ));
        }
        Ok(tensor.data().chunks_exact(4).map(|word| [word[0], word[1], word[2], word[3]]))
    }

    /// A tensor of floats; all of them must be finite.
    pub(crate) fn f32(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, String> {
        let values: Vec<f32> = self.words(name, Dtype::F32, shape)?.map(f32::from_le_bytes).collect();
        if values.iter().all(|value| value.is_finite()) {
            Ok(values)
        } else {
            Err(format!("tensor `{name}` holds a value that is not a finite number"))
        }
    }

    /// A list of ordinals, however long.
    pub(crate) fn u32_of_any_length(&self, name: &str) -> Result<Vec<u32>, String> {
        let tensor = self.tensors.tensor(&format!("{}{name}", self.prefix)).map_err(|error| error.to_string())?;
        let length = tensor.shape().first().copied().unwrap_or_default();
        self.u32(name, &[length])
    }

    /// A tensor of ordinals.
    pub(crate) fn u32(&self, name: &str, shape: &[usize]) -> Result<Vec<u32>, String> {
        Ok(self.words(name, Dtype::U32, shape)?.map(u32::from_le_bytes).collect())
    }
}
