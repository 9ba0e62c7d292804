//! Which member of a group gets which partition.

/// Deals partitions out to `members`, at least one, as evenly as possible, and moves no more than it must.
///
/// `holders` says for each partition which member holds it and may keep it.
pub(super) fn assign(holders: &[Option<usize>], members: usize) -> Vec<usize> {
    let mut room = quotas(holders, members);
    let mut targets: Vec<Option<usize>> = holders
        .iter()
        .map(|holder| {
            let keeps = holder.filter(|member| room[*member] > 0)?;
            room[keeps] -= 1;
            Some(keeps)
        })
        .collect();
    let mut next = 0;
    for target in targets.iter_mut().filter(|target| target.is_none()) {
        while room[next] == 0 {
            next += 1;
        }
        room[next] -= 1;
        *target = Some(next);
    }
    targets.into_iter().flatten().collect()
}

/// How many partitions each member gets; who holds the most gets one of those that are left over.
fn quotas(holders: &[Option<usize>], members: usize) -> Vec<usize> {
    let mut held = vec![0_usize; members];
    holders.iter().flatten().for_each(|member| held[*member] += 1);
    let mut by_held: Vec<usize> = (0..members).collect();
    by_held.sort_by_key(|member| std::cmp::Reverse(held[*member]));
    let mut quotas = vec![holders.len() / members; members];
    by_held.iter().take(holders.len() % members).for_each(|member| quotas[*member] += 1);
    quotas
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(targets: &[usize], members: usize) -> Vec<usize> {
        (0..members).map(|member| targets.iter().filter(|target| **target == member).count()).collect()
    }

    /// Every way in which up to three members can hold four partitions.
    fn all_holders(members: usize) -> impl Iterator<Item = Vec<Option<usize>>> {
        let choices = members + 1;
        (0..choices.pow(4))
            .map(move |number| (0..4).map(|place| (number / choices.pow(place) % choices).checked_sub(1)).collect())
    }

    #[test]
    fn shares_differ_by_one_at_most() {
        for members in 1..=3 {
            for holders in all_holders(members) {
                let shares = shares(&assign(&holders, members), members);
                let (least, most) = (shares.iter().min(), shares.iter().max());
                assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 1), "{holders:?}: {shares:?}");
            }
        }
    }

    #[test]
    fn a_partition_moves_only_from_a_member_that_has_too_many() {
        for members in 1..=3 {
            for holders in all_holders(members) {
                let targets = assign(&holders, members);
                let shares = shares(&targets, members);
                for (holder, target) in holders.iter().zip(&targets) {
                    let Some(holder) = holder.filter(|holder| holder != target) else { continue };
                    let kept =
                        holders.iter().zip(&targets).filter(|(old, new)| **old == Some(holder) && **new == holder);
                    assert_eq!(kept.count(), shares[holder], "{holders:?}: {targets:?}");
                }
            }
        }
    }

    #[test]
    fn surplus_members_get_nothing() {
        assert_eq!(assign(&[Some(1)], 3), [1]);
    }
}
