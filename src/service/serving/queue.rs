//! Connections that the system has made and nobody has accepted yet. It resets them together with the
//! listener, and their callers are told nothing.

use std::io::{ErrorKind, Result};
use std::net::{SocketAddr, TcpListener, TcpStream};

/// Takes those that wait now, at most so many: who keeps coming must not keep the service from going.
/// The listener is one that does not block.
pub fn those_that_wait(listener: &TcpListener, most: usize) -> Vec<(TcpStream, SocketAddr)> {
    let mut taken = Vec::new();
    while taken.len() < most {
        match listener.accept().and_then(unblocked) {
            Ok(connection) => taken.push(connection),
            Err(error) if is_of_the_caller(&error) => {}
            // Nobody is left, or nobody can be had.
            Err(_) => break,
        }
    }
    taken
}

fn unblocked((stream, address): (TcpStream, SocketAddr)) -> Result<(TcpStream, SocketAddr)> {
    stream.set_nonblocking(true)?;
    Ok((stream, address))
}

/// Whether the caller was gone before it was accepted, which says nothing of the listener.
pub fn is_of_the_caller(error: &std::io::Error) -> bool {
    use ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_wait_are_taken_up_to_a_number() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("it can");
        let address = listener.local_addr().expect("an address");
        let callers = [(); 5].map(|()| TcpStream::connect(address).expect("it listens"));
        let taken = those_that_wait(&listener, 3);
        let told =
            |address: &SocketAddr| callers.iter().any(|c| c.local_addr().ok() == Some(*address));
        assert!(taken.len() == 3 && taken.iter().all(|(_, address)| told(address)));
        assert_eq!(those_that_wait(&listener, 3).len(), 2);
        assert_eq!(those_that_wait(&listener, 3).len(), 0, "it does not wait for anybody");
    }
}
