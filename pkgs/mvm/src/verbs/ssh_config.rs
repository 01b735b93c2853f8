//! `mvm ssh-config`.

use crate::context::{Context, block_on};
use crate::declared;
use crate::exit::{Exit, Outcome};
use crate::output;
use anyhow::{Context as _, bail};
use mvm_host::realm::RealmKind;
use mvm_host::store::ssh_host_alias;
use mvm_spec::{VmName, VmSpec};
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Prints what ssh(1) needs to reach VMs, so that ssh, scp, sftp, rsync and editors work as they are.
///
/// Each VM is known as NAME.mvm and as NAME. The connection is made by mvm itself, so it works for VMs without a
/// network, too.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  mvm ssh-config >~/.ssh/mvm.conf     and in ~/.ssh/config, as its first line: Include mvm.conf
  ssh web.mvm
  rsync -a web.mvm:/project/dist/ dist/
  ssh -F <(mvm ssh-config web) web")]
pub struct Args {
    /// The VMs [default: all].
    #[arg(value_parser = crate::target::parse_name, add = crate::complete::vm_names())]
    names: Vec<VmName>,
}

/// What stands between ssh and a VM.
struct Setting {
    /// This program.
    program: PathBuf,
    /// Options that lead it to the realm.
    realm: Vec<String>,
    /// Variables that lead it to the realm.
    variables: Vec<String>,
}

impl Args {
    /// Prints the configuration.
    pub fn run(self, context: &Context) -> Outcome {
        let setting = Setting {
            program: std::env::current_exe().context("can't find this program's own path")?,
            realm: realm_words(context),
            variables: variables(context)?,
        };
        let names = if self.names.is_empty() {
            context.store.names()?
        } else {
            crate::target::several(context, &self.names, false)?
        };
        let mut text = String::new();
        for name in &names {
            if declared::is_declared(context, name) {
                text.push_str(&declared_block(context, name, &setting)?);
                continue;
            }
            match context.store.get(name) {
                Ok(vm) if vm.spec.ephemeral && self.names.is_empty() => {}
                Ok(vm) => text.push_str(&block(&vm.spec, &context.store.paths(name).dir, &setting)?),
                // One damaged VM must not take ssh away from the others.
                Err(error) if self.names.is_empty() => context.progress.warn(&error.to_string()),
                Err(error) => bail!(error),
            }
        }
        if self.names.is_empty() {
            let declared = declared::all()?.into_iter().map(|(name, _)| name);
            let declared: Vec<VmName> = declared.filter(|name| !names.contains(name)).collect();
            // For others than members there is one word, not one for each.
            let usable = declared::may_use();
            if !usable && !declared.is_empty() {
                context.progress.warn(&format!(
                    "the VMs that this host declares are left out: they are for members of the group `{}`",
                    mvm_gate::GROUP
                ));
            }
            for name in declared.iter().filter(|_| usable) {
                match declared_block(context, name, &setting) {
                    Ok(block) => text.push_str(&block),
                    Err(error) => context.progress.warn(&format!("{name} is left out: {error:#}")),
                }
            }
        }
        output::print(text)?;
        Ok(Exit::SUCCESS)
    }
}

/// The block of a declared VM, which the gate has the keys of.
fn declared_block(context: &Context, name: &VmName, setting: &Setting) -> anyhow::Result<String> {
    let dir = context.realm.state_dir.join(".declared").join(name.as_str());
    keep_keys(context, name, &dir)?;
    block(&declared::spec(name)?, &dir, setting)
}

/// ssh(1) reads keys from files: those that the gate gives for a declared VM are kept among the caller's own.
fn keep_keys(context: &Context, name: &VmName, dir: &Path) -> anyhow::Result<()> {
    let access = block_on(declared::access(name))?;
    context.realm.create_dirs()?;
    let ssh = dir.join("ssh");
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&ssh)
        .with_context(|| format!("can't create {}", ssh.display()))?;
    let known = format!("{} {}\n", ssh_host_alias(name), access.host_key.trim_end());
    for (file, content) in [("user_key", access.user_key), ("known_hosts", known)] {
        let path = ssh.join(file);
        let mut new = tempfile::NamedTempFile::new_in(&ssh)
            .with_context(|| format!("can't write {}", path.display()))?;
        new.write_all(content.as_bytes()).with_context(|| format!("can't write {}", path.display()))?;
        new.persist(&path).with_context(|| format!("can't write {}", path.display()))?;
    }
    Ok(())
}

/// Words in front of `ssh-proxy` that make another `mvm` find this realm, whatever its environment.
fn realm_words(context: &Context) -> Vec<String> {
    let realm = match context.realm.kind {
        RealmKind::User => "user",
        RealmKind::Host => "host",
    };
    vec!["--realm".to_owned(), realm.to_owned()]
}

/// Variables that lead to this realm, if variables led this process to it.
fn variables(context: &Context) -> anyhow::Result<Vec<String>> {
    let set = |name| std::env::var_os(name).is_some_and(|value| Path::new(&value).is_absolute());
    let mut variables = Vec::new();
    if set("MVM_STATE_DIR") || set("XDG_STATE_HOME") {
        let dir = context.realm.state_dir.to_str().context("the state directory's path is no UTF-8 text")?;
        variables.push(format!("MVM_STATE_DIR={dir}"));
    }
    if let (true, Ok(dir)) = (set("MVM_RUNTIME_DIR"), std::env::var("MVM_RUNTIME_DIR")) {
        variables.push(format!("MVM_RUNTIME_DIR={dir}"));
    }
    Ok(variables)
}

/// One `Host` block of ssh_config(5).
fn block(spec: &VmSpec, dir: &Path, setting: &Setting) -> anyhow::Result<String> {
    let name = &spec.name;
    let alias = ssh_host_alias(name);
    let mut text = String::new();
    writeln!(text, "Host {alias} {name}")?;
    writeln!(text, "    User {}", spec.user.name)?;
    writeln!(text, "    IdentityFile {}", value(&dir.join("ssh/user_key"))?)?;
    writeln!(text, "    IdentitiesOnly yes")?;
    writeln!(text, "    UserKnownHostsFile {}", value(&dir.join("ssh/known_hosts"))?)?;
    writeln!(text, "    GlobalKnownHostsFile /dev/null")?;
    writeln!(text, "    HostKeyAlias {alias}")?;
    writeln!(text, "    StrictHostKeyChecking yes")?;
    writeln!(text, "    ProxyCommand {}", proxy(name, setting)?)?;
    text.push('\n');
    Ok(text)
}

/// A file name as a value: in double quotes (ssh_config(5)), `%` doubled because it begins a token, as does `${`.
fn value(path: &Path) -> anyhow::Result<String> {
    let text = path.to_str().filter(|text| !text.contains(['"', '\n', '\\']) && !text.contains("${"));
    let Some(text) = text else {
        bail!(
            "{path:?} can't stand in ssh's configuration, which has no way to write such a name; set MVM_STATE_DIR to \
             another directory"
        );
    };
    Ok(format!("\"{}\"", text.replace('%', "%%")))
}

/// The command is run by the user's shell, after ssh has replaced its `%` tokens.
fn proxy(name: &VmName, setting: &Setting) -> anyhow::Result<String> {
    let program = setting.program.to_str().context("this program's own path is no UTF-8 text")?;
    let mut words: Vec<&str> = Vec::new();
    if !setting.variables.is_empty() {
        words.push("env");
        words.extend(setting.variables.iter().map(String::as_str));
    }
    words.push(program);
    words.extend(setting.realm.iter().map(String::as_str));
    words.extend(["ssh-proxy", name.as_str()]);
    let line = shlex::try_join(words).context("a path has a NUL character")?;
    if line.contains('\n') {
        bail!("a path with a line break can't stand in ssh's configuration: {line:?}");
    }
    Ok(line.replace('%', "%%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(program: &str, variables: &[&str]) -> Setting {
        Setting {
            program: program.into(),
            realm: vec!["--realm".into(), "user".into()],
            variables: variables.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn the_proxy_command_keeps_the_state_directory_and_blanks() {
        let name = VmName::new("web").unwrap();
        assert_eq!(
            proxy(&name, &setting("/usr/bin/mvm", &[])).unwrap(),
            "/usr/bin/mvm --realm user ssh-proxy web"
        );
        assert_eq!(
            proxy(&name, &setting("/opt/my tools/100%/mvm", &["MVM_STATE_DIR=/a b"])).unwrap(),
            "env 'MVM_STATE_DIR=/a b' '/opt/my tools/100%%/mvm' --realm user ssh-proxy web"
        );
        assert!(proxy(&name, &setting("/a\nb", &[])).is_err());
    }

    #[test]
    fn file_names_are_quoted_or_refused() {
        assert_eq!(value(Path::new("/a b/50%")).unwrap(), "\"/a b/50%%\"");
        for bad in ["/a\"b", "/a\nb", "/${HOME}"] {
            assert!(value(Path::new(bad)).is_err(), "{bad}");
        }
    }
}
