package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"google.golang.org/api/iterator"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// A window is a time that is measured.
type window struct{ from, to time.Time }

func (w window) length() time.Duration { return w.to.Sub(w.from) }

// A revision is one of a function.
type revision struct{ function, name string }

// Cloud Run's own metrics of requests, as Cloud Monitoring keeps them. They are counted
// in front of the instances, and so also when an instance dies.
const (
	requestCount     = "run.googleapis.com/request_count"
	requestLatencies = "run.googleapis.com/request_latencies" // in milliseconds
)

const (
	serviceLabel  = "service_name"
	revisionLabel = "revision_name"
	classLabel    = "response_code_class"
)

// measure returns what each revision of each function did in a time. One that did
// nothing is not there.
func (s *session) measure(ctx context.Context, w window) (map[revision]sample, error) {
	found := map[revision]sample{}
	err := s.series(ctx, w, requestCount, monitoringpb.Aggregation_REDUCE_SUM, []string{
		"resource.label." + serviceLabel, "resource.label." + revisionLabel, "metric.label." + classLabel,
	}, func(of revision, series *monitoringpb.TimeSeries) {
		got := found[of]
		for _, p := range series.GetPoints() {
			n := p.GetValue().GetInt64Value()
			got.requests += n
			if series.GetMetric().GetLabels()[classLabel] == "5xx" {
				got.errors += n
			}
		}
		found[of] = got
	})
	if err != nil {
		return nil, err
	}
	err = s.series(ctx, w, requestLatencies, monitoringpb.Aggregation_REDUCE_PERCENTILE_95, []string{
		"resource.label." + serviceLabel, "resource.label." + revisionLabel,
	}, func(of revision, series *monitoringpb.TimeSeries) {
		got := found[of]
		for _, p := range series.GetPoints() {
			ms := p.GetValue().GetDoubleValue()
			got.p95 = max(got.p95, time.Duration(ms*float64(time.Millisecond)))
		}
		found[of] = got
	})
	return found, err
}

// series reads one metric of all functions, added up over the whole window.
func (s *session) series(ctx context.Context, w window, metric string, reduce monitoringpb.Aggregation_Reducer, by []string, each func(revision, *monitoringpb.TimeSeries)) error {
	quoted := make([]string, len(s.functions))
	for i, name := range s.functions {
		quoted[i] = fmt.Sprintf("%q", name)
	}
	all := s.metrics.ListTimeSeries(ctx, &monitoringpb.ListTimeSeriesRequest{
		Name: "projects/" + s.project,
		Filter: fmt.Sprintf(`metric.type = %q AND resource.type = "cloud_run_revision" AND resource.labels.location = %q AND resource.labels.%s = one_of(%s)`,
			metric, s.region, serviceLabel, strings.Join(quoted, ", ")),
		Interval: &monitoringpb.TimeInterval{StartTime: timestamppb.New(w.from), EndTime: timestamppb.New(w.to)},
		Aggregation: &monitoringpb.Aggregation{
			AlignmentPeriod:    durationpb.New(w.length().Truncate(time.Second)),
			PerSeriesAligner:   monitoringpb.Aggregation_ALIGN_DELTA,
			CrossSeriesReducer: reduce,
			GroupByFields:      by,
		},
	})
	for {
		series, err := all.Next()
		if errors.Is(err, iterator.Done) {
			return nil
		}
		if err != nil {
			return err
		}
		labels := series.GetResource().GetLabels()
		each(revision{labels[serviceLabel], labels[revisionLabel]}, series)
	}
}
