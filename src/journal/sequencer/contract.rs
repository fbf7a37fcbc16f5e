//! Contract tests for every implementation of [`Sequencer`].

use super::*;
use crate::event::StreamName;
use crate::journal::batch::Item;

/// Creates sequencers that share one log; each continues after the given batch.
trait Fixture {
    type Sequencer: Sequencer;
    fn after(&self, applied: u64) -> Self::Sequencer;
}

struct Local;
impl Fixture for Local {
    type Sequencer = LocalSequencer;
    fn after(&self, applied: u64) -> LocalSequencer {
        LocalSequencer::after(applied)
    }
}

fn proposal(ticket: Ticket) -> Proposal {
    let stream = StreamName::parse(&format!("s{ticket}")).expect("a name");
    Proposal { ticket, time: Timestamp::from_ms(ticket), units: vec![vec![Item::End(stream)]] }
}

fn drain(order: &mut impl Sequencer) -> Vec<(OrderedBatch, Option<Ticket>)> {
    std::iter::from_fn(|| order.next().expect("the order works")).collect()
}

fn delivers_batches_once_in_order(fixture: &impl Fixture) {
    let mut order = fixture.after(0);
    let mut accepted = Vec::new();
    let mut came = Vec::new();
    for ticket in 0..100 {
        match order.propose(proposal(ticket)) {
            Ok(()) => accepted.push(ticket),
            Err(_) => came.extend(drain(&mut order)),
        }
    }
    came.extend(drain(&mut order));
    assert!(accepted.len() > 50);
    let tickets: Vec<Ticket> = came.iter().filter_map(|(_, ticket)| *ticket).collect();
    assert_eq!(tickets, accepted);
    for (ordered, ticket) in &came {
        let sent = proposal(ticket.expect("a ticket"));
        assert_eq!(format!("{:?}", ordered.units), format!("{:?}", sent.units));
        assert_eq!(ordered.time, sent.time);
    }
    assert!(came.windows(2).all(|pair| pair[0].0.number < pair[1].0.number));
}

fn no_number_comes_twice_over_a_restart(fixture: &impl Fixture) {
    let mut order = fixture.after(0);
    order.propose(proposal(1)).expect("accepted");
    let applied = drain(&mut order).last().expect("a batch").0.number;
    drop(order);
    let mut order = fixture.after(applied);
    order.propose(proposal(2)).expect("accepted");
    let came = drain(&mut order);
    assert_eq!(came.len(), 1);
    assert!(came[0].0.number > applied);
}

#[test]
fn local_sequencer_fulfills_the_contract() {
    delivers_batches_once_in_order(&Local);
    no_number_comes_twice_over_a_restart(&Local);
}
