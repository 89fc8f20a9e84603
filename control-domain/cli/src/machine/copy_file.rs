//! `entente copy-file`: a file of the host for a running guest.

use super::add_disk::absolute;
use super::ask;
use crate::command::{Command, Opt};
use crate::failure::Failure;
use crate::given::Given;
use crate::report::Report;
use management::Request;

const CREATE_PATH: Opt = Opt::flag("create-path", "make the folder, if it is not there");
const FORCE: Opt = Opt::flag("force", "replace a file that is there");

/// `entente copy-file NAME SOURCE DESTINATION`
pub const COPY_FILE: Command = Command {
    name: "copy-file",
    summary: "copy a file into a running guest",
    operands: &["NAME", "SOURCE", "DESTINATION"],
    options: &[CREATE_PATH, FORCE],
    notes: "DESTINATION is a whole path in the guest; one that ends with / (or \\) is a folder. The guest needs Hyper-V's guest\n\
            services: in Linux hv_fcopy_uio_daemon, or hv_fcopy_daemon before 6.10.",
    run,
};

fn run(given: &Given) -> Result<Report, Failure> {
    let machine = given.text(0)?;
    let request = Request::CopyFile {
        source: absolute(given.path(1))?,
        destination: given.text(2)?.to_owned(),
        create_path: given.has(CREATE_PATH.name),
        force: given.has(FORCE.name),
    };
    let answer = ask(machine, &request)?.answer;
    let to = answer["destination"].as_str().unwrap_or_default();
    let text = format!("machine {machine}: {to}, {} bytes", answer["bytes"]);
    Ok(Report::new(text, answer))
}
