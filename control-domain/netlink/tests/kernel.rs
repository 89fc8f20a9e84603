//! What the kernel says to each request, in a network namespace of the test's own. Skipped, and said so,
//! where none may be made.

use netlink::address::{self, Network};
use netlink::{bridge_name, link, nat, route};
use rustix::thread::UnshareFlags;
use std::net::Ipv4Addr;
use std::process::Command;

/// Runs in a thread, and so a namespace, of its own.
fn apart(test: impl FnOnce() + Send + 'static) {
    #[allow(deprecated, reason = "unsound for other flags than this one")]
    let thread = std::thread::spawn(|| match rustix::thread::unshare(UnshareFlags::NEWNET) {
        Ok(()) => test(),
        Err(error) => eprintln!("skipped: no network namespace: {error}"),
    });
    assert!(thread.join().is_ok());
}

/// What `ip` says, which comes with most systems; nothing if it is not there.
fn said(words: &[&str]) -> Option<String> {
    let output = Command::new("ip").args(words).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

const NETWORK: Network = Network {
    address: Ipv4Addr::new(172, 30, 0, 1),
    prefix: 20,
};

#[test]
fn a_bridge_is_made_once_and_has_an_address() {
    apart(|| {
        let name = bridge_name("Default Switch");
        for _ in 0..2 {
            link::make_bridge(&name, "Default Switch").unwrap();
            let index = link::index(&name).unwrap();
            link::bring_up(index).unwrap();
            address::add(index, NETWORK).unwrap();
        }
        if let Some(said) = said(&["address", "show", &name]) {
            assert!(said.contains("172.30.0.1/20"), "{said}");
            assert_eq!(said.matches("inet ").count(), 1, "{said}");
        }
        if let Some(said) = said(&["link", "show", &name]) {
            assert!(said.contains("alias Default Switch"), "{said}");
        }
        let index = link::index(&name).unwrap();
        route::set_default(index, Ipv4Addr::new(172, 30, 0, 2)).unwrap();
        route::set_default(index, Ipv4Addr::new(172, 30, 0, 3)).unwrap();
        if let Some(said) = said(&["route"]) {
            assert!(said.contains("default via 172.30.0.3"), "{said}");
            assert_eq!(said.matches("default").count(), 1, "{said}");
        }
        address::remove(index, NETWORK).unwrap();
    });
}

#[test]
fn an_interface_is_plugged_into_a_bridge() {
    apart(|| {
        link::make_bridge("a", "one").unwrap();
        link::make_bridge("b", "two").unwrap();
        let [a, b] = ["a", "b"].map(|name| link::index(name).unwrap());
        // A bridge can't be part of a bridge: the kernel's refusal arrives.
        assert!(link::plug_in(a, b, "x").is_err());
        assert!(
            link::index("c")
                .unwrap_err()
                .to_string()
                .contains("interface c")
        );
    });
}

#[test]
fn the_kernel_takes_all_rules_and_takes_them_again() {
    apart(|| {
        link::make_bridge("a", "one").unwrap();
        let index = link::index("a").unwrap();
        for _ in 0..2 {
            nat::masquerade(index, NETWORK).unwrap();
        }
    });
}

#[test]
fn names_of_bridges_fit_and_differ() {
    let name = bridge_name("A switch with a name longer than interfaces may have");
    assert_eq!(name.len(), 15);
    assert_ne!(name, bridge_name("Default Switch"));
}
