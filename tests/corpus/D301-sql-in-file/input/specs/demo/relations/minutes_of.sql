SELECT v.person_id, SUM(v.minutes) AS minutes
FROM visit AS v
GROUP v.person_id
