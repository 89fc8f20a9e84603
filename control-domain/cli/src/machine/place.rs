//! Places of drives, as they are typed.

use crate::command::Opt;
use crate::failure::Failure;
use crate::given::Given;
use management::Place;
use serde_json::Value;

/// `--number N`
pub const NUMBER: Opt = Opt::with("number", "N", "the SCSI controller, 0 if not given");
/// `--location N`
pub const LOCATION: Opt = Opt::with("location", "N", "the place at the SCSI controller, 0 to 63");
/// `--ide`
pub const IDE: Opt = Opt::flag("ide", "the place is one of the IDE controller, 0 to 3");

/// The place that the options name, if they name one.
pub fn place(given: &Given) -> Result<Option<Place>, Failure> {
    let number = given.option_number(NUMBER.name)?;
    let location = given.option_number(LOCATION.name)?;
    match (given.has(IDE.name), location) {
        (false, None) if number.is_none() => Ok(None),
        (_, None) => Err(given.refuse("--location is missing")),
        (true, Some(_)) if number.is_some() => Err(given.refuse("IDE has one controller")),
        (true, Some(location)) => Ok(Some(Place::Ide { location })),
        (false, Some(location)) => {
            let number = number.unwrap_or(0);
            Ok(Some(Place::Scsi { number, location }))
        }
    }
}

/// The place that an answer names, in words.
pub fn answered_place(answer: &Value) -> String {
    let place = serde_json::from_value::<Place>(answer["place"].clone());
    place.map_or_else(|_| String::new(), |place| place.to_string())
}
