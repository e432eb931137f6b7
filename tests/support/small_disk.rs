//! A disk that is soon full.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system of a few megabytes in memory; unmounted when dropped.
pub(crate) struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    /// Of this many megabytes, for this user. `None`, with a visible `skipped`, where nothing may be
    /// mounted.
    pub(crate) fn mount(megabytes: u32, owner: &str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let options = format!("size={megabytes}m,mode=0777");
        let path = folder.path().display().to_string();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "rowcast-test", &path])
            .output()
            .is_ok_and(|output| output.status.success());
        if !mounted {
            let test = std::thread::current().name().unwrap_or("test").to_owned();
            let told = format!("skipped: {test}: no file system may be mounted here\n");
            let _ = std::io::Write::write_all(&mut std::io::stderr(), told.as_bytes());
            return None;
        }
        let disk = Self { folder };
        let status = Command::new("chown").args([owner, &path]).status().expect("chown runs");
        assert!(status.success());
        Some(disk)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }

    /// Takes all room that is left.
    pub(crate) fn fill(&self) {
        let mut file = std::fs::File::create(self.ballast()).expect("a file");
        while std::io::Write::write_all(&mut file, &[0; 4096]).is_ok() {}
    }

    /// Gives it back.
    pub(crate) fn make_room(&self) {
        std::fs::remove_file(self.ballast()).expect("it was filled");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // lazily: a server may keep files open a little longer
        let path = self.path().display().to_string();
        let _ = Command::new("umount").args(["-l", &path]).status();
    }
}
