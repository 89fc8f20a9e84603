//! `entente screenshot`: a machine's screen as a PNG.

use super::ask;
use crate::command::Command;
use crate::failure::Failure;
use crate::given::Given;
use crate::report::Report;
use management::{Connection, Request};
use serde_json::{Value, json};
use std::io::Read as _;
use std::path::Path;

/// More pixels than any screen has.
const MOST_PIXELS: u64 = 64 << 20;

/// `entente screenshot NAME FILE`
pub const SCREENSHOT: Command = Command {
    name: "screenshot",
    summary: "the screen of a running machine, as a PNG file",
    operands: &["NAME", "FILE"],
    options: &[],
    notes: "Text is drawn in the font that the guest's own video BIOS has loaded.",
    run,
};

fn run(given: &Given) -> Result<Report, Failure> {
    let (machine, file) = (given.text(0)?, given.path(1));
    let Connection { answer, stream } = ask(machine, &Request::Screenshot)?;
    let fail = |what: &str| Failure::Failed(format!("machine {machine}: {what}"));
    let side = |name: &str| {
        answer[name]
            .as_u64()
            .and_then(|side| u32::try_from(side).ok())
    };
    let (Some(width), Some(height)) = (side("width"), side("height")) else {
        return Err(fail("the picture has no size"));
    };
    let pixels = u64::from(width) * u64::from(height);
    if pixels > MOST_PIXELS {
        return Err(fail("the picture is too large"));
    }
    let mut rgb = Vec::new();
    let read = stream.take(pixels * 3).read_to_end(&mut rgb);
    if read.map_or(0, |length| length as u64) < pixels * 3 {
        return Err(fail("the picture was cut off"));
    }
    write_png(file, width, height, &rgb)
        .map_err(|why| Failure::Failed(format!("{}: {why}", file.display())))?;
    let text = format!("{}: {width} × {height}", file.display());
    let json = json!({"file": file, "width": width, "height": height});
    Ok(Report::new(text, Value::clone(&json)))
}

fn write_png(file: &Path, width: u32, height: u32, rgb: &[u8]) -> Result<(), String> {
    let out = std::fs::File::create(file).map_err(|error| error.to_string())?;
    let mut encoder = png::Encoder::new(std::io::BufWriter::new(out), width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(|error| error.to_string())?;
    writer
        .write_image_data(rgb)
        .and_then(|()| writer.finish())
        .map_err(|error| error.to_string())
}
