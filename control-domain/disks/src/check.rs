//! Checking a whole chain, and mending what is safe to mend.

use crate::Error;
use crate::chain::chain;
use crate::detect::Format;
use crate::lock::lock_chain;
use crate::open::storage;
use crate::progress::Progress;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Something wrong with a file of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The file.
    pub path: PathBuf,
    /// Where in it, in bytes, if it is somewhere.
    pub offset: Option<u64>,
    /// What, in a sentence.
    pub what: String,
    /// Whether a repair mends it, because the right bytes are known.
    pub repairable: bool,
    /// Whether it was mended.
    pub repaired: bool,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The files that were checked, the uppermost first.
    pub files: Vec<PathBuf>,
    /// What is wrong with them.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether nothing is wrong, or what was is mended.
    pub fn is_clean(&self) -> bool {
        self.findings.iter().all(|finding| finding.repaired)
    }
}

/// Checks a disk file and its parents. With `repair`, findings whose right bytes are known are mended:
/// a footer from its copy and the like. A file with any other finding is not written.
///
/// # Errors
/// If a file can't be read at all.
pub fn check(path: &Path, repair: bool, progress: Progress<'_>) -> Result<Report, Error> {
    let links = chain(path)?;
    let paths: Vec<_> = links.iter().map(|link| link.info.path.clone()).collect();
    let _locks = lock_chain(&paths, if repair { paths.len() } else { 0 })?;
    let mut report = Report {
        files: paths,
        findings: Vec::new(),
    };
    let total = links.len() as u64;
    for (done, link) in (1..).zip(links) {
        match link.info.format {
            Format::Vhd => check_vhd(&link.info.path, repair, &mut report.findings)?,
            Format::Vhdx => check_vhdx(&link.info.path, repair, &mut report.findings)?,
            Format::Raw | Format::Vmdk => {}
        }
        if let Some(what) = link.problem {
            report.findings.push(Finding {
                path: link.info.path,
                offset: None,
                what,
                repairable: false,
                repaired: false,
            });
        }
        progress(done, total);
    }
    Ok(report)
}

fn check_vhd(path: &Path, repair: bool, findings: &mut Vec<Finding>) -> Result<(), Error> {
    let (mut file, _) = storage(path, Some(Format::Vhd), false)?;
    let found = vhd::check(&mut file).map_err(Error::disk(path))?;
    let repaired = repair && is_repairable(&found);
    if repaired {
        let (mut file, _) = storage(path, Some(Format::Vhd), true)?;
        vhd::repair(&mut file).map_err(Error::disk(path))?;
    }
    add(path, found, repaired, findings);
    Ok(())
}

fn check_vhdx(path: &Path, repair: bool, findings: &mut Vec<Finding>) -> Result<(), Error> {
    let (mut file, _) = storage(path, Some(Format::Vhdx), false)?;
    let report = vhdx::check(&mut file.0).map_err(Error::disk(path))?;
    let mut found: Vec<vhd::Finding> = report
        .problems
        .into_iter()
        .map(|problem| vhd::Finding {
            offset: problem.offset,
            what: problem.what,
            repairable: problem.repairable,
        })
        .collect();
    if report.log_left {
        found.push(vhd::Finding {
            offset: 0,
            what: "the file was not closed: its log is to be replayed".into(),
            repairable: true,
        });
    }
    let repaired = repair && is_repairable(&found);
    if repaired {
        let (mut file, _) = storage(path, Some(Format::Vhdx), true)?;
        vhdx::repair(&mut file.0).map_err(Error::disk(path))?;
    }
    add(path, found, repaired, findings);
    Ok(())
}

fn is_repairable(found: &[vhd::Finding]) -> bool {
    !found.is_empty() && found.iter().all(|finding| finding.repairable)
}

fn add(path: &Path, found: Vec<vhd::Finding>, repaired: bool, findings: &mut Vec<Finding>) {
    findings.extend(found.into_iter().map(|finding| Finding {
        path: path.into(),
        offset: Some(finding.offset),
        what: finding.what,
        repairable: finding.repairable,
        repaired,
    }));
}
