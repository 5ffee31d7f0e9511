//! Arrays that go into models and come out: a shape and numbers of one type.

use crate::ModelError;

/// The types of numbers that models take and give here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElementType {
    /// Single precision.
    F32,
    /// Double precision.
    F64,
    /// 32 bits, with sign.
    I32,
    /// 64 bits, with sign.
    I64,
}

impl ElementType {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::F32, Self::F64, Self::I32, Self::I64];

    /// The name in KServe's protocol.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "FP32",
            Self::F64 => "FP64",
            Self::I32 => "INT32",
            Self::I64 => "INT64",
        }
    }

    /// The type of a name in KServe's protocol.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }

    /// The bytes of one number.
    #[must_use]
    pub fn size_bytes(self) -> usize {
        match self {
            Self::F32 | Self::I32 => 4,
            Self::F64 | Self::I64 => 8,
        }
    }
}

/// Numbers of one type, last dimension fastest.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the variants are those of `ElementType`")]
pub enum Values {
    F32(Vec<f32>),
    F64(Vec<f64>),
    I32(Vec<i32>),
    I64(Vec<i64>),
}

/// Does the same with the numbers of whatever type.
macro_rules! each {
    ($values:expr, $name:ident => $what:expr) => {
        match $values {
            Values::F32($name) => $what,
            Values::F64($name) => $what,
            Values::I32($name) => $what,
            Values::I64($name) => $what,
        }
    };
}

impl Values {
    /// The type.
    #[must_use]
    pub fn element_type(&self) -> ElementType {
        match self {
            Self::F32(_) => ElementType::F32,
            Self::F64(_) => ElementType::F64,
            Self::I32(_) => ElementType::I32,
            Self::I64(_) => ElementType::I64,
        }
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        each!(self, values => values.len())
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Numbers from little-endian bytes; what is left of a number at the end is dropped.
    #[must_use]
    pub fn from_bytes(element_type: ElementType, bytes: &[u8]) -> Self {
        let fours = || bytes.as_chunks::<4>().0.iter();
        let eights = || bytes.as_chunks::<8>().0.iter();
        match element_type {
            ElementType::F32 => Self::F32(fours().map(|b| f32::from_le_bytes(*b)).collect()),
            ElementType::I32 => Self::I32(fours().map(|b| i32::from_le_bytes(*b)).collect()),
            ElementType::F64 => Self::F64(eights().map(|b| f64::from_le_bytes(*b)).collect()),
            ElementType::I64 => Self::I64(eights().map(|b| i64::from_le_bytes(*b)).collect()),
        }
    }

    /// Appends the numbers as little-endian bytes.
    pub fn to_bytes(&self, out: &mut Vec<u8>) {
        let start = out.len();
        // Of known length first: then the loop is a copy.
        out.resize(start + self.len() * self.element_type().size_bytes(), 0);
        each!(self, values => {
            let places = out[start..].as_chunks_mut().0.iter_mut();
            for (place, value) in places.zip(values) {
                *place = value.to_le_bytes();
            }
        });
    }

    /// As double precision.
    #[must_use]
    #[allow(clippy::unnecessary_cast, reason = "of one of the types")]
    pub fn to_f64(&self) -> Vec<f64> {
        each!(self, values => values.iter().map(|&value| value as f64).collect())
    }

    /// As single precision.
    #[must_use]
    #[allow(clippy::unnecessary_cast, reason = "of one of the types")]
    pub fn into_f32(self) -> Vec<f32> {
        match self {
            Self::F32(values) => values,
            other => each!(other, values => values.into_iter().map(|value| value as f32).collect()),
        }
    }

    /// Rounded or widened to another type.
    #[must_use]
    #[allow(clippy::unnecessary_cast, reason = "of one of the types")]
    pub fn cast(self, element_type: ElementType) -> Self {
        if self.element_type() == element_type {
            return self;
        }
        each!(self, values => {
            let values = values.into_iter();
            match element_type {
                ElementType::F32 => Self::F32(values.map(|value| value as f32).collect()),
                ElementType::F64 => Self::F64(values.map(|value| value as f64).collect()),
                ElementType::I32 => Self::I32(values.map(|value| value as i32).collect()),
                ElementType::I64 => Self::I64(values.map(|value| value as i64).collect()),
            }
        })
    }

    fn append(&mut self, more: &Self) {
        match (self, more) {
            (Self::F32(own), Self::F32(more)) => own.extend_from_slice(more),
            (Self::F64(own), Self::F64(more)) => own.extend_from_slice(more),
            (Self::I32(own), Self::I32(more)) => own.extend_from_slice(more),
            (Self::I64(own), Self::I64(more)) => own.extend_from_slice(more),
            // `Tensor::stack` has compared the types.
            _ => {}
        }
    }

    fn part(&self, range: std::ops::Range<usize>) -> Self {
        match self {
            Self::F32(values) => Self::F32(values[range].to_vec()),
            Self::F64(values) => Self::F64(values[range].to_vec()),
            Self::I32(values) => Self::I32(values[range].to_vec()),
            Self::I64(values) => Self::I64(values[range].to_vec()),
        }
    }
}

/// Numbers with a shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    values: Values,
}

impl Tensor {
    /// Numbers, last dimension fastest.
    ///
    /// # Errors
    /// [`ModelError::Length`] if the shape holds another number of them.
    pub fn new(shape: Vec<usize>, values: Values) -> Result<Self, ModelError> {
        let wanted = cells(&shape);
        if wanted == Some(values.len()) {
            Ok(Self { shape, values })
        } else {
            let found = values.len();
            Err(ModelError::Length { shape, found })
        }
    }

    /// Zeros of single precision.
    #[must_use]
    pub fn zeros(shape: Vec<usize>) -> Self {
        let values = Values::F32(vec![0.0; shape.iter().product()]);
        Self { shape, values }
    }

    /// The lengths of its dimensions, slowest first.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The numbers.
    #[must_use]
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// The numbers themselves.
    #[must_use]
    pub fn into_values(self) -> Values {
        self.values
    }

    /// Along the first dimension, which all have; what follows it is the same in all.
    #[must_use]
    pub fn stack(parts: &[&Self]) -> Option<Self> {
        let (first, rest) = parts.split_first()?;
        let mut whole = (*first).clone();
        for part in rest {
            let fits = part.shape.len() == whole.shape.len()
                && part.shape.get(1..) == whole.shape.get(1..)
                && part.values.element_type() == whole.values.element_type();
            if !fits || whole.shape.is_empty() {
                return None;
            }
            whole.shape[0] += part.shape[0];
            whole.values.append(&part.values);
        }
        Some(whole)
    }

    /// Some rows of the first dimension; `None` where they are not all there.
    #[must_use]
    pub fn rows(&self, range: std::ops::Range<usize>) -> Option<Self> {
        let rows = *self.shape.first()?;
        if range.start > range.end || range.end > rows {
            return None;
        }
        let row: usize = self.shape[1..].iter().product();
        let mut shape = self.shape.clone();
        shape[0] = range.len();
        let values = self.values.part(range.start * row..range.end * row);
        Some(Self { shape, values })
    }
}

/// How many numbers a shape holds; `None` where that is more than can be counted.
pub(crate) fn cells(shape: &[usize]) -> Option<usize> {
    shape
        .iter()
        .try_fold(1_usize, |product, &len| product.checked_mul(len))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(rows: usize, first: f32) -> Tensor {
        let values = (0..rows * 2).map(|i| first + i as f32).collect();
        Tensor::new(vec![rows, 2], Values::F32(values)).unwrap()
    }

    #[test]
    fn what_is_stacked_comes_apart_again() {
        let (a, b) = (tensor(3, 0.0), tensor(2, 100.0));
        let whole = Tensor::stack(&[&a, &b]).unwrap();
        assert_eq!(whole.shape(), [5, 2]);
        assert_eq!(whole.rows(0..3).unwrap(), a);
        assert_eq!(whole.rows(3..5).unwrap(), b);
        assert_eq!(whole.rows(3..6), None);
        let other = Tensor::new(vec![1, 3], Values::F32(vec![0.0; 3])).unwrap();
        assert_eq!(Tensor::stack(&[&a, &other]), None);
    }

    #[test]
    fn a_shape_that_cannot_be_counted_is_refused() {
        let shape = vec![usize::MAX, 2];
        assert!(Tensor::new(shape, Values::F32(Vec::new())).is_err());
    }

    #[test]
    fn numbers_survive_their_bytes() {
        let values = Values::I64(vec![-1, 1 << 40]);
        let mut bytes = vec![7];
        values.to_bytes(&mut bytes);
        assert_eq!(bytes.remove(0), 7);
        assert_eq!(Values::from_bytes(ElementType::I64, &bytes), values);
    }
}
