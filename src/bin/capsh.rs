fn main() -> std::process::ExitCode {
    rcap::tools::main(rcap::tools::capsh::run)
}
