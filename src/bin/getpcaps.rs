fn main() -> std::process::ExitCode {
    rcap::tools::main(rcap::tools::getpcaps::run)
}
