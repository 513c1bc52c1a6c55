SELECT v.person_id, SUM(v.minutes) OVER (PARTITION BY v.place) AS minutes
FROM visit AS v
