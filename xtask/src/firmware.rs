//! Where the emulated PC's UEFI firmware comes from: the flag, the environment, Debian's package
//! on the host, and last a prebuilt one.

use crate::context::Context;
use anyhow::{Context as _, Result, bail, ensure};
use ovmf_prebuilt::{Arch, FileType, Prebuilt, Source};
use qemu_tests::Firmware;
use std::path::{Path, PathBuf};

/// Names a firmware's code when no flag does.
const VARIABLE: &str = "ENTENTE_FIRMWARE";

/// Debian's package on the host, file of the code.
const HOST: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";

/// Finds the firmware; an error lists every place that was tried.
pub fn find(context: &Context, flag: Option<&Path>) -> Result<Firmware> {
    if let Some(code) = flag {
        return beside(code).context("--firmware");
    }
    if let Some(code) = std::env::var_os(VARIABLE) {
        return beside(Path::new(&code)).context(VARIABLE);
    }
    if Path::new(HOST).exists() {
        return beside(Path::new(HOST));
    }
    let folder = context.cache.join("ovmf-prebuilt");
    match Prebuilt::fetch(Source::LATEST, &folder) {
        Ok(prebuilt) => Ok(Firmware {
            code: prebuilt.get_file(Arch::X64, FileType::Code),
            variables: prebuilt.get_file(Arch::X64, FileType::Vars),
        }),
        Err(error) => bail!(
            "no UEFI firmware: --firmware was not given, {VARIABLE} is not set, {HOST} is not \
             there, and no prebuilt one can be fetched ({error}); run: apt-get install ovmf"
        ),
    }
}

/// A firmware whose variables lie beside its code: `…CODE….fd` and `…VARS….fd`.
fn beside(code: &Path) -> Result<Firmware> {
    let name = code.file_name().unwrap_or_default().to_string_lossy();
    let variables: PathBuf = code.with_file_name(
        name.replace("CODE", "VARS")
            .replace("code", "vars")
            .replace(".secboot", ""),
    );
    ensure!(code.exists(), "there is no file {}", code.display());
    ensure!(
        variables.exists() && variables != code,
        "beside {} there is no file of variables ({})",
        code.display(),
        variables.display()
    );
    Ok(Firmware {
        code: code.to_path_buf(),
        variables,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_found_beside_the_code() {
        let folder = std::env::temp_dir().join(format!("firmware-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let code = folder.join("OVMF_CODE_4M.fd");
        assert!(
            beside(&code)
                .unwrap_err()
                .to_string()
                .contains("there is no file")
        );
        std::fs::write(&code, "").unwrap();
        assert!(
            beside(&code)
                .unwrap_err()
                .to_string()
                .contains("no file of variables")
        );
        std::fs::write(folder.join("OVMF_VARS_4M.fd"), "").unwrap();
        assert_eq!(
            beside(&code).unwrap().variables,
            folder.join("OVMF_VARS_4M.fd")
        );
        std::fs::remove_dir_all(folder).unwrap();
    }
}
