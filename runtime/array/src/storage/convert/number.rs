//! The number types of files and of results, and exact passage between them.

use std::ops::Add;

use super::{Missing, Rules};

/// A number type of files.
pub(in crate::storage) trait Stored: Copy + PartialOrd + Default {
    /// NetCDF's fill value of the type; none for single bytes, where it is a common value.
    const DEFAULT_FILL: Option<Self>;
    const SIZE_BYTES: usize;
    fn from_bytes(bytes: &[u8], big_endian: bool) -> Self;
    fn from_exact(exact: Exact) -> Option<Self>;
    fn to_f64(self) -> f64;
    fn to_f32(self) -> f32;
}

/// A number type of results.
pub(in crate::storage) trait Output:
    bytemuck::Pod + PartialOrd + Add<Output = Self>
{
    const MISSING: Self;
    const IS_SINGLE: bool;
    /// What is missing, if this is the type that is stored.
    fn rules(rules: &Rules) -> Option<&Missing<Self>>;
    /// With its bytes in the other order.
    fn swapped(self) -> Self;
    fn from_f64(value: f64) -> Self;
    fn from_f32(value: f32) -> Self;
}

macro_rules! output {
    ($type:ty, $rules:ident) => {
        impl Output for $type {
            const MISSING: Self = Self::NAN;
            const IS_SINGLE: bool = size_of::<Self>() == size_of::<f32>();
            fn rules(rules: &Rules) -> Option<&Missing<Self>> {
                match rules {
                    Rules::$rules(missing) => Some(missing),
                    _ => None,
                }
            }
            #[inline(always)]
            fn swapped(self) -> Self {
                Self::from_bits(self.to_bits().swap_bytes())
            }
            #[inline(always)]
            fn from_f64(value: f64) -> Self {
                value as Self
            }
            #[inline(always)]
            fn from_f32(value: f32) -> Self {
                value.into()
            }
        }
    };
}
output!(f32, F32);
output!(f64, F64);

/// A number of an attribute without loss.
#[derive(Clone, Copy, Debug)]
pub(in crate::storage) enum Exact {
    Integer(i128),
    Float(f64),
}

macro_rules! stored_integer {
    ($type:ty, $fill:expr) => {
        impl Stored for $type {
            const DEFAULT_FILL: Option<Self> = $fill;
            const SIZE_BYTES: usize = size_of::<Self>();
            #[inline(always)]
            fn from_bytes(bytes: &[u8], big_endian: bool) -> Self {
                let mut array = [0; size_of::<Self>()];
                array.copy_from_slice(bytes);
                if big_endian {
                    Self::from_be_bytes(array)
                } else {
                    Self::from_le_bytes(array)
                }
            }
            fn from_exact(exact: Exact) -> Option<Self> {
                match exact {
                    Exact::Integer(value) => Self::try_from(value).ok(),
                    Exact::Float(value) if value.fract() == 0.0 && value.abs() < 1e30 => {
                        Self::try_from(value as i128).ok()
                    }
                    Exact::Float(_) => None,
                }
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                self as f64
            }
            #[inline(always)]
            fn to_f32(self) -> f32 {
                self as f32
            }
        }
    };
}
stored_integer!(i8, None);
stored_integer!(u8, None);
stored_integer!(i16, Some(-32_767));
stored_integer!(u16, Some(65_535));
stored_integer!(i32, Some(-2_147_483_647));
stored_integer!(u32, Some(4_294_967_295));
stored_integer!(i64, Some(-9_223_372_036_854_775_806));
stored_integer!(u64, Some(18_446_744_073_709_551_614));

macro_rules! stored_float {
    ($type:ty, $fill:expr) => {
        impl Stored for $type {
            const DEFAULT_FILL: Option<Self> = Some($fill);
            const SIZE_BYTES: usize = size_of::<Self>();
            #[inline(always)]
            fn from_bytes(bytes: &[u8], big_endian: bool) -> Self {
                let mut array = [0; size_of::<Self>()];
                array.copy_from_slice(bytes);
                if big_endian {
                    Self::from_be_bytes(array)
                } else {
                    Self::from_le_bytes(array)
                }
            }
            fn from_exact(exact: Exact) -> Option<Self> {
                Some(match exact {
                    Exact::Integer(value) => value as Self,
                    Exact::Float(value) => value as Self,
                })
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                self.into()
            }
            #[inline(always)]
            fn to_f32(self) -> f32 {
                self as f32
            }
        }
    };
}
stored_float!(f32, 9.969_21e36);
stored_float!(f64, 9.969_209_968_386_869e36);
