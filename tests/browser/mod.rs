//! A real browser for tests: Chromium and its driver, as Debian packages them. Without them the tests say so in a line and pass, unless
//! `SWEEP_BROWSER=required`: a machine that lacks a browser must not look like one where the page works.

#![allow(dead_code, reason = "each test file takes what it needs")]

use std::future::Future;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use thirtyfour::bidi::events::{BeforeRequestSent, LogEntryAdded};
use thirtyfour::prelude::*;
use tokio_stream::StreamExt;

/// How long anything on a page may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// What has been heard, by a task that listens.
type Said = Arc<Mutex<Vec<String>>>;

/// A browser with one page.
pub struct Browser {
    pub driver: WebDriver,
    /// Console entries and addresses of requests so far.
    console: Said,
    requests: Said,
    process: Child,
}

/// How a page is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    pub width: u32,
    pub dark: bool,
    pub scripts: bool,
}

impl Default for Look {
    fn default() -> Self {
        Self { width: 1280, dark: false, scripts: true }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // With the browser that it has started, which would outlive a test that failed.
        let group = i32::try_from(self.process.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(group) = group {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs a test in a browser, if there is one; the browser is gone afterwards, whatever happened.
pub fn in_browser<F: Future<Output = ()>>(look: Look, test: impl FnOnce(Arc<Browser>) -> F) {
    let is_here = |program: &str| Command::new(program).arg("--version").output().is_ok_and(|out| out.status.success());
    if !is_here("chromedriver") || !["chromium", "google-chrome"].into_iter().any(is_here) {
        assert_ne!(std::env::var("SWEEP_BROWSER").as_deref(), Ok("required"), "chromium and chromedriver are not here");
        println!("skipped: chromium and chromedriver are not here");
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let browser = Arc::new(Browser::start(look).await);
        test(Arc::clone(&browser)).await;
        let _ = browser.driver.clone().quit().await;
    });
}

impl Browser {
    async fn start(look: Look) -> Self {
        let mut process = Command::new("chromedriver")
            .arg("--port=0")
            .process_group(0)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        // "ChromeDriver was started successfully on port 34567."
        let port = lines.find_map(|line| {
            let line = line.unwrap();
            let (_, port) = line.split_once("successfully on port ")?;
            port.trim_end_matches('.').parse::<u16>().ok()
        });
        // The rest is read, so that the driver is never blocked.
        std::thread::spawn(move || lines.for_each(drop));
        let mut wanted = DesiredCapabilities::chrome();
        for flag in [
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--hide-scrollbars",
            "--force-color-profile=srgb",
            "--no-first-run",
            "--disable-background-networking",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        ] {
            wanted.add_arg(flag).unwrap();
        }
        wanted.add_arg(&format!("--window-size={},1000", look.width.max(500))).unwrap();
        if !look.scripts {
            wanted.add_experimental_option("prefs", json!({ "profile.managed_default_content_settings.javascript": 2 })).unwrap();
        }
        wanted.enable_bidi().unwrap();
        let driver = WebDriver::new(format!("http://127.0.0.1:{}", port.unwrap()), wanted).await.unwrap();
        driver
            .cdp()
            .send_raw(
                "Emulation.setDeviceMetricsOverride",
                json!({ "width": look.width, "height": 1000, "deviceScaleFactor": 1, "mobile": look.width < 600 }),
            )
            .await
            .unwrap();
        if look.dark {
            let dark = json!({ "features": [{ "name": "prefers-color-scheme", "value": "dark" }] });
            driver.cdp().send_raw("Emulation.setEmulatedMedia", dark).await.unwrap();
        }
        let (console, requests): (Said, Said) = (Arc::default(), Arc::default());
        let bidi = driver.bidi().await.unwrap();
        let (mut entries, mut sent) =
            (bidi.subscribe::<LogEntryAdded>().await.unwrap(), bidi.subscribe::<BeforeRequestSent>().await.unwrap());
        let (console_of, requests_of) = (Arc::clone(&console), Arc::clone(&requests));
        tokio::spawn(async move {
            while let Some(entry) = entries.next().await {
                console_of.lock().unwrap().push(entry.text.unwrap_or_default());
            }
        });
        tokio::spawn(async move {
            while let Some(sent) = sent.next().await {
                requests_of.lock().unwrap().push(sent.request.url);
            }
        });
        Self { driver, console, requests, process }
    }

    /// Opens a file.
    pub async fn open_file(&self, path: &Path, hash: &str) {
        self.open(&format!("file://{}{hash}", path.display())).await;
    }

    /// Opens an address and waits until the page is ready.
    pub async fn open(&self, url: &str) {
        // Another fragment alone would not load the page again.
        self.driver.goto("about:blank").await.unwrap();
        self.driver.goto(url).await.unwrap();
        self.until("document.documentElement.dataset.ready === 'yes'").await;
    }

    /// What a script returns.
    pub async fn ask(&self, script: &str) -> Value {
        let found = self.driver.execute(format!("return {script}"), vec![]).await;
        found.unwrap_or_else(|error| panic!("{script}: {error}")).json().clone()
    }

    /// Runs a script.
    pub async fn tell(&self, script: &str) {
        self.driver.execute(script, vec![]).await.unwrap_or_else(|error| panic!("{script}: {error}"));
    }

    /// Waits until a condition holds.
    pub async fn until(&self, condition: &str) {
        let begun = Instant::now();
        while self.ask(&format!("Boolean({condition})")).await != json!(true) {
            if begun.elapsed() > PATIENCE {
                let fault = self.ask("document.body.innerText.slice(0, 2000)").await;
                panic!("waited in vain for {condition}\n{:?}\n{fault}", self.console());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn console(&self) -> Vec<String> {
        self.console.lock().unwrap().clone()
    }

    /// Addresses that were asked for, beside the pages that were opened and data in addresses.
    pub fn requests(&self) -> Vec<String> {
        let all = self.requests.lock().unwrap().clone();
        all.into_iter().filter(|url| !url.starts_with("data:") && !url.starts_with("about:")).collect()
    }
}
