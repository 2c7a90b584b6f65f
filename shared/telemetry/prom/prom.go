// Package prom shows metrics as Prometheus text, for the local stack and for
// tests. Deployed functions export by other means and don't link it.
package prom

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/otlptranslator"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	sdk "go.opentelemetry.io/otel/sdk/metric"
)

// New returns a meter provider and the handler that shows what was measured with
// it. Each call has a registry of its own. Names and labels come out exactly as
// they were declared.
func New() (metric.MeterProvider, http.Handler) {
	registry := prometheus.NewRegistry()
	exporter, err := otelprometheus.New(
		otelprometheus.WithRegisterer(registry),
		otelprometheus.WithTranslationStrategy(otlptranslator.UnderscoreEscapingWithoutSuffixes),
		otelprometheus.WithoutScopeInfo(),
		otelprometheus.WithoutTargetInfo(),
	)
	if err != nil {
		panic("prom: a new registry refused its only collector: " + err.Error())
	}
	return sdk.NewMeterProvider(sdk.WithReader(exporter)), promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
}
