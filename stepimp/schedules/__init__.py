"""Model schedules: values, predicted costs and exact optimisation, without sampling."""
