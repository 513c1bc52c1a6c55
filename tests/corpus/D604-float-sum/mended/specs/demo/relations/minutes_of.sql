SELECT v.person_id, SUM(v.minutes) AS minutes
FROM visit AS v
GROUP BY v.person_id
