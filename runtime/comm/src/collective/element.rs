//! The number types that are sent and folded.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use crate::ReduceOperation;

/// A number type, for messages between ranks and for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum DataType {
    /// IEEE single precision.
    F32 = 1,
    /// IEEE double precision.
    F64,
    /// IEEE half precision.
    F16,
    /// The upper half of single precision.
    Bf16,
}

impl DataType {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::F32, Self::F64, Self::F16, Self::Bf16];

    /// As nccl-tests call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "float",
            Self::F64 => "double",
            Self::F16 => "half",
            Self::Bf16 => "bfloat16",
        }
    }

    /// Bytes of a number.
    #[must_use]
    pub fn size_bytes(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}

/// A number that ranks fold.
pub trait Element: bytemuck::Pod + Default + Send + Sync + PartialEq + std::fmt::Debug {
    /// Its type.
    const TYPE: DataType;

    /// `into[i] = into[i] operation from[i]`, element by element.
    fn fold(operation: ReduceOperation, into: &mut [Self], from: &[Self]);
}

fn each<T: Copy>(into: &mut [T], from: &[T], fold: impl Fn(T, T) -> T) {
    for (into, from) in into.iter_mut().zip(from) {
        *into = fold(*into, *from);
    }
}

macro_rules! element {
    ($type:ty, $data_type:expr) => {
        impl Element for $type {
            const TYPE: DataType = $data_type;

            fn fold(operation: ReduceOperation, into: &mut [Self], from: &[Self]) {
                match operation {
                    ReduceOperation::Sum => each(into, from, |a, b| a + b),
                    ReduceOperation::Minimum => each(into, from, |a, b| a.min(b)),
                    ReduceOperation::Maximum => each(into, from, |a, b| a.max(b)),
                }
            }
        }
    };
}
element!(f32, DataType::F32);
element!(f64, DataType::F64);

/// Half precisions are folded in single precision and rounded once a fold.
macro_rules! half_element {
    ($type:ty, $data_type:expr) => {
        impl Element for $type {
            const TYPE: DataType = $data_type;

            fn fold(operation: ReduceOperation, into: &mut [Self], from: &[Self]) {
                let single = |fold: fn(f32, f32) -> f32| {
                    move |a: Self, b: Self| Self::from_f32(fold(a.to_f32(), b.to_f32()))
                };
                match operation {
                    ReduceOperation::Sum => each(into, from, single(|a, b| a + b)),
                    ReduceOperation::Minimum => each(into, from, single(f32::min)),
                    ReduceOperation::Maximum => each(into, from, single(f32::max)),
                }
            }
        }
    };
}
half_element!(f16, DataType::F16);
half_element!(bf16, DataType::Bf16);

/// A number that single precision is rounded to for the wire.
pub trait Narrow: Element {
    /// Rounds each to the nearest, ties to even.
    fn round(values: &[f32], into: &mut [Self]);

    /// Exact.
    fn widen(values: &[Self], into: &mut [f32]);
}

macro_rules! narrow {
    ($type:ty) => {
        impl Narrow for $type {
            fn round(values: &[f32], into: &mut [Self]) {
                into.convert_from_f32_slice(values);
            }

            fn widen(values: &[Self], into: &mut [f32]) {
                values.convert_to_f32_slice(into);
            }
        }
    };
}
narrow!(f16);
narrow!(bf16);
