//! `authcoded man` and `authcoded completions`: written from the command line's own description and the
//! default configuration, so that they cannot say anything else.

use super::print;
use clap_complete::Shell;
use clap_mangen::Man;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The configuration as it is shipped, with its comments.
pub(super) const SHIPPED: &str = include_str!("../../packaging/authcoded.toml");
const MANUAL: &str = "authcoded";

pub(super) const COMPLETIONS_HELP: &str = "\
Examples:
  authcoded completions bash > /etc/bash_completion.d/authcoded
  authcoded completions zsh > /usr/local/share/zsh/site-functions/_authcoded
  authcoded completions fish > ~/.config/fish/completions/authcoded.fish";

/// The shells that are known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Known {
    /// GNU bash, with bash-completion
    Bash,
    /// The Z shell
    Zsh,
    /// The friendly interactive shell
    Fish,
}

/// For which shell.
#[derive(Debug, clap::Args)]
#[command(after_help = COMPLETIONS_HELP)]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: Known,
}

/// Where to.
#[derive(Debug, clap::Args)]
pub(super) struct ManArgs {
    /// The folder; its pages are replaced
    folder: PathBuf,
}

/// Prints the completions.
pub(super) fn completions(
    args: &CompletionsArgs,
    mut cli: clap::Command,
) -> anyhow::Result<ExitCode> {
    let shell = match args.shell {
        Known::Bash => Shell::Bash,
        Known::Zsh => Shell::Zsh,
        Known::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut cli, "authcoded", &mut script);
    let mut out = print::out();
    out.write_all(&script)?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// Writes authcoded(8), a page for each command, and authcoded.toml(5).
pub(super) fn write(args: &ManArgs, mut cli: clap::Command) -> anyhow::Result<ExitCode> {
    std::fs::create_dir_all(&args.folder)?;
    cli.build();
    page(&cli, &args.folder)?;
    std::fs::write(args.folder.join("authcoded.toml.5"), configuration(SHIPPED))?;
    Ok(ExitCode::SUCCESS)
}

/// The page of a command and those of the commands below it.
fn page(command: &clap::Command, folder: &Path) -> anyhow::Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let below =
        command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help");
    for sub in below {
        page(sub, folder)?;
    }
    let man = Man::new(command.clone().disable_help_subcommand(true))
        .title(&name)
        .section("8")
        .source(concat!("authcoded ", env!("CARGO_PKG_VERSION")))
        .manual(MANUAL);
    let mut text = Vec::new();
    man.render(&mut text)?;
    Ok(std::fs::write(folder.join(format!("{name}.8")), text)?)
}

/// Turns the commented configuration into a page: what is said above a key is told of it.
fn configuration(shipped: &str) -> String {
    let mut page = format!(
        ".TH AUTHCODED.TOML 5 \"\" \"authcoded {}\" \"{MANUAL}\"\n.SH NAME\nauthcoded.toml \\- \
         configuration of authcoded(8)\n.SH DESCRIPTION\n",
        env!("CARGO_PKG_VERSION")
    );
    let mut said: Vec<&str> = Vec::new();
    for line in shipped.lines() {
        let written = line.strip_prefix('#').unwrap_or(line);
        if let Some(name) = written.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let _ = write!(page, ".SH \"SECTION [{}]\"\n{}\n", name, paragraph(&mut said));
        } else if let Some((key, value)) = written.split_once(" = ").filter(|(key, _)| is_key(key))
        {
            let kind = if line.starts_with('#') { "default or example" } else { "as shipped" };
            let (key, value) = (escaped(key), escaped(value));
            let _ =
                write!(page, ".TP\n\\fB{key}\\fR = {value}\n({kind}) {}\n", paragraph(&mut said));
        } else if let Some(text) = line.strip_prefix("# ---") {
            said.push(text.trim_matches(['-', ' ']));
        } else if let Some(text) = line.strip_prefix('#') {
            said.push(text.strip_prefix(' ').unwrap_or(text));
        } else if !said.is_empty() {
            let _ = write!(page, "{}\n.PP\n", paragraph(&mut said));
        }
    }
    page.push_str(
        ".SH FILES\n/etc/authcoded/authcoded.toml\n.SH \"SEE ALSO\"\nauthcoded(8), authcoded\\-check(8)\n",
    );
    page
}

fn is_key(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
}

fn paragraph(said: &mut Vec<&str>) -> String {
    let mut text = String::new();
    for line in said.drain(..) {
        match line.trim_start() {
            "" => text.push_str(".sp\n"),
            // An example stands on a line of its own.
            words if words.len() + 2 <= line.len() => {
                let _ = write!(text, ".br\n\\ \\ {}\n.br\n", escaped(words));
            }
            words => {
                let _ = writeln!(text, "{}", escaped(words));
            }
        }
    }
    text.trim_end().to_owned()
}

/// No character of the text is taken for an instruction.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}
