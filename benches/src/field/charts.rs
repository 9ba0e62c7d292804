//! Bars of what was measured.

use plotters::prelude::*;

use super::protocol::{Case, Line, Settings, word};
use super::tables::{Field, Group, Spread, shown, title};

const WIDTH: u32 = 760;
const BAR: u32 = 26;
const LABELS: u32 = 150;
const OURS: RGBColor = RGBColor(31, 99, 173);
const OTHERS: RGBColor = RGBColor(150, 160, 170);

/// A bar, with the lowest and the highest round as a line.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    pub who: String,
    pub spread: Spread,
}

/// The file of a group's chart.
pub fn name(field: &Field<'_>, group: &Group) -> String {
    let settings = if group.settings == Settings::Equal { "-equal" } else { "" };
    format!("{}-{}{settings}.svg", word(field.0.broker), word(group.case))
}

/// What a chart shows, and its bars.
pub fn bars(field: &Field<'_>, group: &Group) -> (String, Vec<Bar>) {
    let (what, figure): (String, fn(&Line) -> Option<f64>) = match group.case {
        Case::Latency => {
            (format!("latency at {} messages/s, p99, ms: less is better", group.rate.unwrap_or_default()), |line| {
                line.micros.map(|micros| micros.p99 / 1e3)
            })
        }
        Case::First => ("start to first message, ms: less is better".to_owned(), |line| line.seconds.map(|s| s * 1e3)),
        case => (format!("{}, messages/s: more is better", word(case)), Line::per_second),
    };
    let settings = if group.settings == Settings::Equal { ", all with our settings" } else { "" };
    let bars = field
        .who(group)
        .into_iter()
        .filter_map(|who| Some(Bar { who: who.to_owned(), spread: field.figure(group, who, figure)? }));
    (format!("{}{settings}: {what}", title(field.0.broker)), bars.collect())
}

/// Draws bars as SVG.
///
/// # Errors
/// What the drawing says.
pub fn draw(title: &str, bars: &[Bar]) -> Result<String, String> {
    let mut svg = String::new();
    draw_into(&mut svg, title, bars).map_err(|cause| cause.to_string())?;
    Ok(svg + "\n")
}

fn draw_into(svg: &mut String, title: &str, bars: &[Bar]) -> Result<(), Box<dyn std::error::Error>> {
    let height = 70 + BAR * bars.len() as u32;
    let area = SVGBackend::with_string(svg, (WIDTH, height)).into_drawing_area();
    area.fill(&WHITE)?;
    let most = bars.iter().map(|bar| bar.spread.high).fold(0.0, f64::max);
    // a scale of nothing can't be drawn
    let most = if most > 0.0 { most * 1.15 } else { 1.0 };
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 16))
        .margin(8)
        .x_label_area_size(24)
        .y_label_area_size(LABELS)
        .build_cartesian_2d(0.0..most, 0.0..bars.len() as f64)?;
    let who = |place: &f64| bars.iter().rev().nth(*place as usize).map_or_else(String::new, |bar| bar.who.clone());
    let figure_of = |figure: &f64| shown(*figure);
    chart.configure_mesh().disable_mesh().disable_y_axis().x_labels(6).x_label_formatter(&figure_of).draw()?;
    for (place, bar) in bars.iter().rev().enumerate() {
        let (bottom, middle) = (place as f64, place as f64 + 0.5);
        let Spread { middle: figure, low, high } = bar.spread;
        let color = if bar.who.starts_with("ours") { OURS } else { OTHERS };
        let rectangle = Rectangle::new([(0.0, bottom + 0.15), (figure, bottom + 0.85)], color.filled());
        chart.draw_series([rectangle])?;
        chart.draw_series([PathElement::new(vec![(low, middle), (high, middle)], BLACK)])?;
        let label = Text::new(shown(figure), (high + most * 0.01, bottom + 0.75), ("sans-serif", 12));
        chart.draw_series([label])?;
        let (_, y) = chart.backend_coord(&(0.0, middle));
        let style = ("sans-serif", 13).into_text_style(&area);
        area.draw_text(&who(&bottom), &style, (12, y - 6))?;
    }
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::tables::charted;
    use crate::field::tables::tests::measured;

    #[test]
    fn a_chart_has_a_bar_for_each_who_has_figures() {
        let results = measured();
        let field = Field(&results);
        let group = &charted(&field)[0];
        let (title, bars) = bars(&field, group);
        assert_eq!((title.as_str(), bars.len()), ("Kafka: publish, messages/s: more is better", 3));
        assert_eq!(name(&field, group), "kafka-publish.svg");
        let svg = draw(&title, &bars).expect("drawn");
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
        for text in ["ours", "raw", "tuned", "1000", "2000", title.as_str()] {
            assert!(svg.contains(&format!("\n{text}\n")), "{text} in {svg}");
        }
    }

    #[test]
    fn nothing_can_be_drawn_too() {
        assert!(draw("x", &[]).is_ok());
    }
}
