//! Sockets of a guest that want to be connected.

use vmbus::message::{self, kind};
use vmbus_testing::ModelGuest;

#[test]
fn sockets_are_refused_in_words_that_the_guest_knows() {
    let guest = ModelGuest::default();
    assert!(guest.contact(5 << 16 | 3));
    let request = message::TlConnectRequestBody {
        endpoint: [1; 16],
        service: [2; 16],
    };
    guest.tell(kind::TL_CONNECT_REQUEST, &request);
    let wanted = guest.bus.next_connect().unwrap();
    assert_eq!(wanted.service.to_bytes_le(), [2; 16]);
    assert!(guest.bus.connect_bell().wait(None));
    guest.bus.refuse_connect(&guest.now(), &wanted);
    let answer: message::TlConnectResultBody = guest.expect(kind::TL_CONNECT_RESULT);
    assert_eq!(answer.status.get(), message::STATUS_CONNECTION_REFUSED);
    assert_eq!((answer.endpoint, answer.service), ([1; 16], [2; 16]));
    // Who asks for more than is looked at is refused by itself.
    for _ in 0..64 {
        guest.tell(kind::TL_CONNECT_REQUEST, &request);
    }
    assert!(guest.host.next_message().is_none());
    guest.tell(kind::TL_CONNECT_REQUEST, &request);
    let _: message::TlConnectResultBody = guest.expect(kind::TL_CONNECT_RESULT);
}
