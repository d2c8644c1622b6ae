#![cfg_attr(target_env = "gnu", no_main)]

rcap::program!(rcap::cli::captree::run);
