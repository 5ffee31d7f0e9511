//! SVG pictures as PNG, for papers, chats and programs that show no SVG.
//!
//! Called by `mizar plot` and `mizar cube --plot`. The font travels in the program: compute
//! nodes have none.

use std::sync::Arc;

use resvg::{tiny_skia, usvg};

/// Pixels for each unit of the drawing: sharp on today's screens.
const SCALE: f32 = 2.0;

/// Why a picture cannot be turned into pixels.
#[derive(Debug, thiserror::Error)]
pub enum RasterError {
    /// It is not SVG as our own drawings are.
    #[error("the drawing cannot be read")]
    Drawing(#[from] usvg::Error),
    /// It has no area, or more than memory.
    #[error("a picture of {width} by {height} pixels cannot be made")]
    Size {
        /// In pixels.
        width: u32,
        /// In pixels.
        height: u32,
    },
    /// The pixels could not be encoded.
    #[error("the picture cannot be encoded: {0}")]
    Encoding(String),
}

/// The bytes of a PNG file of an SVG drawing, on white.
///
/// # Errors
/// [`RasterError`].
pub fn png(svg: &str) -> Result<Vec<u8>, RasterError> {
    let mut fonts = usvg::fontdb::Database::new();
    for font in [dejavu::sans::regular(), dejavu::sans::bold()] {
        fonts.load_font_source(usvg::fontdb::Source::Binary(Arc::new(font)));
    }
    fonts.set_sans_serif_family("DejaVu Sans");
    let options = usvg::Options {
        font_family: "DejaVu Sans".to_owned(),
        fontdb: Arc::new(fonts),
        ..usvg::Options::default()
    };
    let tree = usvg::Tree::from_str(svg, &options)?;
    let pixels = |length: f32| (length * SCALE).ceil() as u32;
    let (width, height) = (pixels(tree.size().width()), pixels(tree.size().height()));
    let pixmap = tiny_skia::Pixmap::new(width, height);
    let mut pixmap = pixmap.ok_or(RasterError::Size { width, height })?;
    pixmap.fill(tiny_skia::Color::WHITE);
    let scale = tiny_skia::Transform::from_scale(SCALE, SCALE);
    resvg::render(&tree, scale, &mut pixmap.as_mut());
    let encoded = pixmap.encode_png();
    encoded.map_err(|error| RasterError::Encoding(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_shapes_become_pixels() {
        let svg = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"80\" height=\"20\">\
                   <rect width=\"10\" height=\"20\" fill=\"#f00\"/>\
                   <text x=\"20\" y=\"15\" font-family=\"sans-serif\">Kelvin</text></svg>";
        let bytes = png(svg).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes))
            .read_info()
            .unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height), (160, 40));
        assert_eq!(pixels[..3], [255, 0, 0]);
        let is_black = |pixel: &&[u8]| pixel[..3].iter().all(|&part| part < 60);
        let letters = pixels.chunks(4).filter(is_black).count();
        assert!(letters > 100, "{letters} black pixels of letters");
    }

    #[test]
    fn what_is_no_drawing_is_an_error() {
        assert!(matches!(png("<html>"), Err(RasterError::Drawing(_))));
    }
}
