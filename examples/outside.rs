//! Runs the programs of the README and `docs/embed.md` outside this workspace, unchanged and compiled against the
//! packages that would be published.

use std::env;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Once;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// The variable of the amount of debug information.
const DEBUG: &str = "CARGO_PROFILE_DEV_DEBUG";

/// How long a server may take to listen, on a busy machine.
const WAIT: Duration = Duration::from_secs(60);

/// The interval of attempts to connect.
const STEP: Duration = Duration::from_millis(20);

const PACKAGES: [&str; 2] = ["metrics-video-core", "metrics-video-server"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The directory of the programs and the packages.
fn outside() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("outside")
}

/// The target directory of the workspace, shared with the programs so that they reuse its compiled dependencies.
fn target() -> PathBuf {
    outside().join("../..")
}

/// Cargo as a user runs it. It is offline: the dependencies were downloaded for this test's own package.
fn cargo(command: &str, target: &Path) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([command, "--offline", "--quiet", "--target-dir"]).arg(target);
    // The setting of the workspace, unless the environment has one; with another one, Cargo could not reuse its compiled
    // dependencies.
    if env::var_os(DEBUG).is_none() {
        cargo.env(DEBUG, "line-tables-only");
    }
    cargo
}

/// Runs a command to its end, expects success, and returns its output.
fn run(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{command:?} ended with {status}: {stderr}");
    String::from_utf8(stdout).unwrap()
}

/// Packages both crates once for all tests, and unpacks them beside the programs that depend on them.
fn packaged() {
    static PACKAGED: Once = Once::new();
    PACKAGED.call_once(package);
}

fn package() {
    let made = outside().join("target");
    if made.exists() {
        fs::remove_dir_all(&made).unwrap();
    }
    let mut package = cargo("package", &made);
    package.args(["--no-verify", "--allow-dirty", "--locked"]).current_dir(root());
    for name in PACKAGES {
        package.args(["--package", name]);
    }
    run(&mut package);
    PACKAGES.into_iter().for_each(unpack);
}

/// Unpacks a package, unless it equals the one unpacked last.
fn unpack(name: &str) {
    let (folder, last) = (outside().join(name), outside().join(name).with_extension("last"));
    let packages = fs::read_dir(outside().join("target/package")).unwrap();
    let packages = packages.map(|entry| entry.unwrap().path());
    let of_this = |path: &PathBuf| {
        let file = path.file_name().unwrap().to_str().unwrap();
        file.starts_with(name) && file.ends_with(".crate")
    };
    let packages: Vec<_> = packages.filter(of_this).collect();
    let [package] = packages.as_slice() else { panic!("packages called {name}: {packages:?}") };
    if last.exists() && fs::read(&last).unwrap() == fs::read(package).unwrap() {
        return;
    }
    if folder.exists() {
        fs::remove_dir_all(&folder).unwrap();
    }
    fs::create_dir(&folder).unwrap();
    // `-m` sets the current time: the times in the archive never change, and Cargo would reuse its last build.
    let mut tar = Command::new("tar");
    run(tar.args(["-xzm", "--strip-components=1", "-f"]).arg(package).arg("-C").arg(&folder));
    fs::copy(package, last).unwrap();
}

/// The first code block in this language after the text `after` of a chapter.
fn shown<'a>(chapter: &'a str, after: &str, language: &str) -> &'a str {
    let (_, rest) = chapter.split_once(after).expect("the chapter has these words");
    let (_, rest) = rest.split_once(&format!("```{language}\n")).expect("the chapter shows it");
    rest.split_once("```\n").expect("it ends").0
}

/// Compiles a program with its dependencies, and returns the path of the binary.
fn compiled(name: &str, dependencies: &str, program: &str) -> PathBuf {
    packaged();
    let mut manifest =
        format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n\n{dependencies}");
    manifest += "\n[workspace]\n\n[patch.crates-io]\n";
    // Program and packages depend on published versions, which the unpacked packages replace.
    for package in PACKAGES.into_iter().filter(|package| dependencies.contains(package)) {
        manifest += &format!("{package} = {{ path = \"../{package}\" }}\n");
    }
    let folder = outside().join(name);
    fs::create_dir_all(folder.join("src")).unwrap();
    fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    fs::write(folder.join("src/main.rs"), program).unwrap();
    // The dependency versions that the workspace tests.
    fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    run(cargo("build", &target()).current_dir(&folder));
    target().join("debug").join(name)
}

/// A free local address. The program is compiled before it listens, which may take minutes: so the port is below 32768,
/// where the system takes no ports for connections from, and differs between runs of this test.
fn free_address() -> SocketAddr {
    let first = 20_000 + u16::try_from(std::process::id() % 10_000).unwrap();
    let mut addresses = (first..32_768).map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    addresses.find(|address| TcpListener::bind(address).is_ok()).expect("a port is free")
}

/// A server process that is killed when this is dropped.
struct Serving {
    child: Child,
    address: SocketAddr,
    _directory: TempDir,
}

impl Serving {
    /// Starts a program, and waits until it listens.
    fn start(program: &Path, address: SocketAddr) -> Self {
        let directory = TempDir::new().unwrap();
        let mut command = Command::new(program);
        let child = command.current_dir(directory.path()).stdin(Stdio::null()).spawn().unwrap();
        let mut this = Self { child, address, _directory: directory };
        let late = Instant::now() + WAIT;
        while TcpStream::connect(address).is_err() {
            assert_eq!(this.child.try_wait().unwrap(), None, "it ended");
            assert!(Instant::now() < late, "nothing listens on {address}");
            sleep(STEP);
        }
        this
    }

    /// Sends a request, and returns the status and the body of the response.
    fn request(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let (host, length) = (self.address, body.len());
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all((head + body).as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// Interrupts the server like Ctrl-C, and expects it to exit with success.
    fn stop(mut self) {
        run(Command::new("kill").args(["-s", "INT", &self.child.id().to_string()]));
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // The process may have ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn packages_hold_their_licences_and_their_metadata() {
    packaged();
    for name in PACKAGES {
        let folder = outside().join(name);
        for file in ["LICENSE-APACHE", "LICENSE-MIT", "README.md"] {
            let packaged = fs::read(folder.join(file)).expect(file);
            assert_eq!(packaged, fs::read(root().join(file)).unwrap(), "{file} of {name}");
        }
        let mut metadata = Command::new(env!("CARGO"));
        metadata.args(["metadata", "--offline", "--no-deps", "--format-version=1"]);
        let metadata: Value = serde_json::from_str(&run(metadata.current_dir(&folder))).unwrap();
        let package = &metadata["packages"][0];
        assert_eq!(package["name"], name);
        for field in ["description", "license", "readme", "repository", "rust_version"] {
            assert!(package[field].is_string(), "{name} does not say its {field}");
        }
        for field in ["categories", "keywords"] {
            assert!(
                package[field].as_array().is_some_and(|all| !all.is_empty()),
                "{name}: {field}"
            );
        }
    }
}

/// `cargo install metrics-video-server` builds this binary. The test only checks it: a build would replace the binary of the
/// workspace, which has more features.
#[test]
fn the_package_of_the_server_has_its_binary() {
    packaged();
    let folder = outside().join("metrics-video-server");
    let mut check = cargo("check", &target());
    check.args(["--bin", "metrics-server", "--config"]);
    check.arg("patch.crates-io.metrics-video-core.path = '../metrics-video-core'");
    fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    run(check.current_dir(&folder));
}

#[test]
fn the_library_alone_shows_its_recordings() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let after = "\n## Embed it\n";
    let dependencies = shown(&readme, after, "toml");
    let program = compiled("readme-alone", dependencies, shown(&readme, after, "rust"));
    let directory = TempDir::new().unwrap();
    let output = run(Command::new(program).current_dir(directory.path()));
    assert_eq!(output, "1 plays, 12500 ms watched\n");
    assert!(directory.path().join("metrics.db").exists());
}

#[test]
fn a_server_made_with_axum_answers_reports_under_its_path() {
    let chapter = fs::read_to_string(root().join("docs/embed.md")).unwrap();
    let after = "In a server made with axum";
    let shown_at = "127.0.0.1:3000";
    let program = shown(&chapter, after, "rust");
    assert!(program.contains(shown_at), "{program}");
    let free = free_address();
    let program = program.replace(shown_at, &free.to_string());
    let program = compiled("readme-mounted", shown(&chapter, after, "toml"), &program);
    let server = Serving::start(&program, free);

    assert_eq!(server.request("GET", "/", ""), (200, "hello from the application".to_owned()));
    assert_eq!(server.request("GET", "/api/v1/plays?identifier=intro", "").0, 404);
    let (status, made) = server.request("POST", "/analytics/api/v1/keys", "");
    assert_eq!(status, 201, "{made}");
    let key = serde_json::from_str::<Value>(&made).unwrap()["key"].clone();
    let event = |name: &str, at: f64| json!({ "name": name, "key": key, "session_id": "a", "embed_id": "intro", "video_time": at });
    let batch = json!({ "events": [event("play", 0.0), event("pause", 12.5)] }).to_string();
    let sent = server.request("POST", "/analytics/v1/events", &batch);
    assert_eq!(sent, (200, r#"{"accepted":2,"rejected":[]}"#.to_owned()));
    let (status, plays) = server.request("GET", "/analytics/api/v1/plays?identifier=intro", "");
    assert_eq!(status, 200, "{plays}");
    let plays: Value = serde_json::from_str(&plays).unwrap();
    assert_eq!(plays["views"][0]["views"], 1, "{plays}");
    assert_eq!(plays["views"][0]["total_view_time"], 12.5, "{plays}");
    server.stop();
}
