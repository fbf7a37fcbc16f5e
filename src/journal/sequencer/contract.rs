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
    let units = vec![vec![Item::End(stream)]];
    Proposal { ticket, time: Timestamp::from_ms(ticket), emptied: Vec::new(), units }
}

fn drain(sequencer: &mut impl Sequencer) -> Vec<(OrderedBatch, Option<Ticket>)> {
    std::iter::from_fn(|| sequencer.next().expect("the order works")).collect()
}

fn delivers_batches_once_in_order(fixture: &impl Fixture) {
    let mut sequencer = fixture.after(0);
    let mut accepted = Vec::new();
    let mut delivered = Vec::new();
    for ticket in 0..100 {
        match sequencer.propose(proposal(ticket)) {
            Ok(()) => accepted.push(ticket),
            Err(_) => delivered.extend(drain(&mut sequencer)),
        }
    }
    delivered.extend(drain(&mut sequencer));
    assert!(accepted.len() > 50);
    let tickets: Vec<Ticket> = delivered.iter().filter_map(|(_, ticket)| *ticket).collect();
    assert_eq!(tickets, accepted);
    for (ordered, ticket) in &delivered {
        let proposed = proposal(ticket.expect("a ticket"));
        assert_eq!(format!("{:?}", ordered.units), format!("{:?}", proposed.units));
        assert_eq!(ordered.time, proposed.time);
    }
    assert!(delivered.windows(2).all(|pair| pair[0].0.number < pair[1].0.number));
}

fn no_number_comes_twice_over_a_restart(fixture: &impl Fixture) {
    let mut sequencer = fixture.after(0);
    sequencer.propose(proposal(1)).expect("accepted");
    let applied = drain(&mut sequencer).last().expect("a batch").0.number;
    drop(sequencer);
    let mut sequencer = fixture.after(applied);
    sequencer.propose(proposal(2)).expect("accepted");
    let delivered = drain(&mut sequencer);
    assert_eq!(delivered.len(), 1);
    assert!(delivered[0].0.number > applied);
}

#[test]
fn local_sequencer_fulfills_the_contract() {
    delivers_batches_once_in_order(&Local);
    no_number_comes_twice_over_a_restart(&Local);
}
