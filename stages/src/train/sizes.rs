//! Named model sizes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The dimensions of a decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dims {
    /// Transformer blocks.
    #[schemars(range(min = 1))]
    pub layers: i64,
    /// Width of the residual stream.
    #[schemars(range(min = 2))]
    pub width: i64,
    /// Attention heads; must divide the width into an even head size.
    #[schemars(range(min = 1))]
    pub heads: i64,
    /// Hidden width of the SwiGLU; 0: 8/3 of the width, rounded up to a multiple of 16.
    #[serde(default)]
    pub ffn: i64,
}

impl Dims {
    pub fn hidden(&self) -> i64 {
        if self.ffn > 0 {
            self.ffn
        } else {
            (self.width * 8 / 3 + 15) / 16 * 16
        }
    }

    /// Parameters without the embedding: attention, SwiGLU and norms.
    pub fn body_params(&self) -> i64 {
        let block = 4 * self.width * self.width + 3 * self.width * self.hidden() + 2 * self.width;
        self.layers * block + self.width
    }

    /// All parameters; the embedding is shared with the output.
    pub fn params(&self, vocab: i64) -> i64 {
        self.body_params() + vocab * self.width
    }
}

/// A size by name. The paper's proxies are 62M, 132M and 350M, its targets 350M and 1B (section
/// 4.1); counts are parameters without the embedding (`nano`: with one, for a vocabulary of 512).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Size {
    /// 0.2M with its embedding: for the quickstart and tests.
    #[serde(rename = "nano")]
    Nano,
    #[serde(rename = "1M")]
    M1,
    #[serde(rename = "20M")]
    M20,
    #[serde(rename = "62M")]
    M62,
    #[serde(rename = "132M")]
    M132,
    #[serde(rename = "350M")]
    M350,
    #[serde(rename = "1B")]
    B1,
}

impl Size {
    pub fn dims(self) -> Dims {
        let (layers, width, heads) = match self {
            Size::Nano => (2, 80, 2),
            Size::M1 => (5, 128, 4),
            Size::M20 => (6, 512, 8),
            Size::M62 => (12, 640, 10),
            Size::M132 => (18, 768, 12),
            Size::M350 => (27, 1024, 16),
            Size::B1 => (20, 2048, 16),
        };
        Dims {
            layers,
            width,
            heads,
            ffn: 0,
        }
    }
}

/// A named size or explicit dimensions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ModelSize {
    Named(Size),
    Explicit(Dims),
}

impl ModelSize {
    pub fn dims(&self) -> Dims {
        match self {
            ModelSize::Named(size) => size.dims(),
            ModelSize::Explicit(dims) => *dims,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_number_of_parameters() {
        let near = |size: Size, millions: f64| {
            let params = size.dims().body_params() as f64 / 1e6;
            assert!(
                (params / millions - 1.0).abs() < 0.1,
                "{size:?}: {params:.1}M"
            );
        };
        assert!((Size::Nano.dims().params(512) as f64 / 2e5 - 1.0).abs() < 0.1);
        near(Size::M1, 1.0);
        near(Size::M20, 20.0);
        near(Size::M62, 62.0);
        near(Size::M132, 132.0);
        near(Size::M350, 350.0);
        near(Size::B1, 1000.0);
    }
}
