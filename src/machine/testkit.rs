//! Runs one machine alone.

use super::{Cx, Machine, Op, Rng};
use crate::types::Now;

/// The ops of one step of a machine at `now`, with a fixed generator.
pub(crate) fn step_at<M: Machine>(now: Now, step: impl FnOnce(&mut Cx<'_, M>)) -> Vec<Op<M>> {
    let (mut rng, mut ops) = (Rng::fork(&[1; 32], "test"), Vec::new());
    step(&mut Cx::new(now, &mut rng, &mut ops));
    ops
}

/// The ops of one step at the origin of time.
pub(crate) fn step<M: Machine>(step: impl FnOnce(&mut Cx<'_, M>)) -> Vec<Op<M>> {
    step_at(Now::default(), step)
}

#[test]
fn a_step_leaves_its_ops_in_the_order_asked() {
    use super::Never;
    use crate::types::{Lane, NodeId, Time};

    struct Echo;
    impl Machine for Echo {
        type Message = u8;
        type Record = Never;
        type Wait = Never;
        type Task = Never;
        type Timer = Never;
        type Event = Time;
        fn lane(_: &u8) -> Lane {
            Lane::Control
        }
    }
    let to = NodeId::from_u128(1);
    assert_eq!(step::<Echo>(|cx| cx.send(to, 2)), [Op::Send(to, 2)]);
    let now = Now { mono: Time::from_nanos(3), ..Now::default() };
    assert_eq!(
        step_at::<Echo>(now, |cx| {
            cx.emit(cx.now().mono);
            cx.send(to, 4);
        }),
        [Op::Emit(Time::from_nanos(3)), Op::Send(to, 4)]
    );
}
