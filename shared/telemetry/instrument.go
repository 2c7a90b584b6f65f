package telemetry

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// Description is the declaration of a metric.
type Description struct {
	Name   string   // as exported, suffixes included
	Type   string   // counter, gauge or histogram
	Unit   string   // UCUM: "s", "%", or "" for a count
	Help   string   // one sentence
	Labels []string // in the order in which values are given
}

// builder makes instruments, remembers what it made, and keeps the first error.
type builder struct {
	meter    metric.Meter
	declared []Description
	err      error
}

func (b *builder) declare(d Description, err error) labels {
	b.declared = append(b.declared, d)
	if b.err == nil {
		b.err = err
	}
	return d.Labels
}

func (b *builder) counter(name, help string, labels ...string) counter {
	i, err := b.meter.Int64Counter(name, metric.WithDescription(help))
	return counter{i, b.declare(Description{name, "counter", "", help, labels}, err)}
}

func (b *builder) histogram(name string, seconds []float64, help string, labels ...string) histogram {
	i, err := b.meter.Float64Histogram(name, metric.WithDescription(help), metric.WithUnit("s"),
		metric.WithExplicitBucketBoundaries(seconds...))
	return histogram{i, b.declare(Description{name, "histogram", "s", help, labels}, err)}
}

func (b *builder) gauge(name, help, unit string, labels ...string) gauge {
	i, err := b.meter.Float64Gauge(name, metric.WithDescription(help), metric.WithUnit(unit))
	return gauge{i, b.declare(Description{name, "gauge", unit, help, labels}, err)}
}

type counter struct {
	instrument metric.Int64Counter
	labels     labels
}

func (c counter) add(ctx context.Context, values ...string) { c.addMany(ctx, 1, values...) }

func (c counter) addMany(ctx context.Context, n int64, values ...string) {
	c.instrument.Add(ctx, n, c.labels.with(values))
}

type histogram struct {
	instrument metric.Float64Histogram
	labels     labels
}

func (h histogram) record(ctx context.Context, d time.Duration, values ...string) {
	h.instrument.Record(ctx, d.Seconds(), h.labels.with(values))
}

type gauge struct {
	instrument metric.Float64Gauge
	labels     labels
}

func (g gauge) set(ctx context.Context, value float64, values ...string) {
	g.instrument.Record(ctx, value, g.labels.with(values))
}

// labels are the names of an instrument's attributes.
type labels []string

// with pairs the names with as many values. Values are masked like log text: a
// metric is one more place that a stray secret must not reach.
func (l labels) with(values []string) metric.MeasurementOption {
	attributes := make([]attribute.KeyValue, len(l))
	for i, name := range l {
		attributes[i] = attribute.String(name, Mask(values[i]))
	}
	return metric.WithAttributeSet(attribute.NewSet(attributes...))
}
