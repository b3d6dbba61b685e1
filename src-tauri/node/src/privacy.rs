//! The privacy meter for people who ask this node: betanet's reading at each level.
//!
//! Deliberately absent: the judgement itself (betanet's `meter`), and advice.

use crate::{
    answers,
    control::{AdversaryDto, GradeDto, LevelPrivacyDto, PrivacyDto, ViewDto},
};
use fogbank_betanet::{
    directory::Directory,
    meter::{self, Adversary, Cover, Grade, Input, Reading, View},
};
use fogbank_model::{Level, MixId};

/// The reading at each level.
pub(crate) fn privacy(directory: &Directory, own: &[MixId], guards: &[MixId]) -> PrivacyDto {
    let read = |level: Level| {
        let cover = Cover::sent(level);
        (level, cover, meter::read(&Input { directory, own, guards, level, cover }))
    };
    let readings = [Level::Fast, Level::Balanced, Level::Strict].map(read);
    // What concerns the fog is alike in all of them.
    let [(.., fog), ..] = &readings;
    PrivacyDto {
        test: directory.test,
        mixes: count(fog.mixes),
        owners: count(fog.owners),
        users_at_least: fog.users.at_least,
        users_at_most: fog.users.at_most,
        levels: readings.iter().map(|(level, cover, reading)| at_level(*level, *cover, reading)).collect(),
    }
}

fn at_level(level: Level, cover: Cover, reading: &Reading) -> LevelPrivacyDto {
    LevelPrivacyDto {
        level: answers::level_dto(level),
        offered: level != Level::Strict || cover.constant_slot.is_some(),
        cover_bytes_s: cover.client_bytes_s(),
        packet_bits: reading.packet_bits,
        pages_found: reading.pages_found,
        mix_both_ends: reading.mix_both_ends,
        owner_both_ends: reading.owner_both_ends,
        views: reading.views.iter().map(view).collect(),
    }
}

fn view(view: &View) -> ViewDto {
    let adversary = match view.adversary {
        Adversary::Host => AdversaryDto::Host,
        Adversary::Mix => AdversaryDto::Mix,
        Adversary::Allocator => AdversaryDto::Allocator,
        Adversary::Owner => AdversaryDto::Owner,
        Adversary::Global => AdversaryDto::Global,
    };
    ViewDto { adversary, grade: grade(view.grade), words: view.words.clone() }
}

pub(crate) fn grade(grade: Grade) -> GradeDto {
    match grade {
        Grade::None => GradeDto::None,
        Grade::Weak => GradeDto::Weak,
        Grade::Fair => GradeDto::Fair,
        Grade::Good => GradeDto::Good,
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
