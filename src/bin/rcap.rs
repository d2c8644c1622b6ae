fn main() -> std::process::ExitCode {
    rcap::cli::main(rcap::cli::rcap::run)
}
